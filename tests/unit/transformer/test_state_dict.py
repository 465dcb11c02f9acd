import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.errors import DataError, UsageError
from chainlab.transformer import (
    Architecture,
    Experts,
    export_state_dict,
    import_state_dict,
    language_model,
    load_state_dict,
    save_state_dict,
)

SHAPE = Architecture(layers=2, heads=2, dim=8, context=6, bias=True, hidden=20)


@pytest.fixture(scope="module")
def params():
    return jax.jit(language_model(SHAPE, 11).init)(jax.random.key(0))


@pytest.mark.parametrize("layout", ["linear", "conv1d"])
def test_a_state_dict_goes_out_to_a_file_and_comes_back(params, layout, tmp_path):
    tensors = export_state_dict(params, SHAPE, layout=layout)
    save_state_dict(tmp_path / "model.safetensors", tensors)
    architecture, back = import_state_dict(load_state_dict(tmp_path / "model.safetensors"), heads=2, vocabulary=11)
    assert architecture == SHAPE
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_names_and_layouts_are_those_of_gpt2(params):
    linear, conv1d = (export_state_dict(params, SHAPE, layout=layout) for layout in ("linear", "conv1d"))
    assert linear["transformer.h.1.attn.c_attn.weight"].shape == (24, 8)
    assert conv1d["transformer.h.1.mlp.c_proj.weight"].shape == (20, 8)
    query = params["blocks"]["0"]["attention"]["query"]["weight"][1]
    np.testing.assert_array_equal(linear["transformer.h.1.attn.c_attn.weight"][:8], query.T)
    assert linear["transformer.h.0.ln_1.weight"].shape == linear["transformer.h.0.ln_1.bias"].shape == (8,)


def test_wrapped_names_and_mask_buffers_are_understood(params):
    tensors = {name.removeprefix("transformer."): leaf for name, leaf in export_state_dict(params, SHAPE).items()}
    wrapped = {f"_orig_mod.transformer.{name}": leaf for name, leaf in tensors.items() if name != "lm_head.weight"}
    wrapped["_orig_mod.transformer.h.0.attn.bias"] = np.ones((1, 1, 6, 6), np.float32)
    _, back = import_state_dict(wrapped, heads=2)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_what_does_not_fit_is_named(params, tmp_path):
    tensors = export_state_dict(params, SHAPE)
    with pytest.raises(UsageError, match="11 tokens, the tokenizer 65"):
        import_state_dict(tensors, heads=2, vocabulary=65)
    with pytest.raises(UsageError, match="heads must divide dim=8, got heads=3"):
        import_state_dict(tensors, heads=3)
    with pytest.raises(DataError, match=r"'h\.1\.mlp\.c_fc\.bias' is missing"):
        import_state_dict({n: t for n, t in tensors.items() if "h.1.mlp.c_fc.bias" not in n}, heads=2)
    with pytest.raises(DataError, match="unknown tensors extra"):
        import_state_dict({**tensors, "extra": np.zeros(1)}, heads=2)
    with pytest.raises(DataError, match=r"must have shape \(8, 8\), got \(8, 7\)"):
        import_state_dict({**tensors, "transformer.h.0.attn.c_proj.weight": np.zeros((8, 7))}, heads=2)
    with pytest.raises(DataError, match="tied"):
        import_state_dict({**tensors, "lm_head.weight": np.zeros((11, 8))}, heads=2)
    with pytest.raises(UsageError, match="no place for positions='rotary'"):
        export_state_dict(params, dataclasses.replace(SHAPE, positions="rotary"))
    with pytest.raises(UsageError, match="experts"):
        export_state_dict(params, dataclasses.replace(SHAPE, experts=Experts()))
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match="not a safetensors file"):
        load_state_dict(tmp_path / "weights.pt")
    with pytest.raises(DataError, match="no such file"):
        load_state_dict(tmp_path / "absent.safetensors")
    (tmp_path / "there.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="exists"):
        save_state_dict(tmp_path / "there.safetensors", {"a": np.zeros(1, np.float32)})


@pytest.mark.slow
def test_gpt2s_tanh_gelu_is_chosen_by_the_caller(params):
    tensors = export_state_dict(params, SHAPE)
    tokens = jnp.arange(6)[None]
    exact, tanh = (
        language_model(architecture, 11).apply(back, tokens)
        for architecture, back in (import_state_dict(tensors, heads=2, mlp=mlp) for mlp in ("gelu", "gelu_tanh"))
    )
    assert 0 < np.max(np.abs(exact - tanh)) < 1e-2
