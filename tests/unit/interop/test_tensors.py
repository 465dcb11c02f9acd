import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from chainlab import nn
from chainlab.errors import CheckpointError, UsageError
from chainlab.interop import dotted, load_tensors, save_tensors
from chainlab.lab.peers import PeerMissingError, peer_python


@pytest.fixture
def params(key):
    mlp = nn.mlp([4, 8, 2]).init(key)
    return {"mlp": mlp, "blocks": [{"scale": jnp.arange(3, dtype=jnp.bfloat16)}, {"count": jnp.array(7, jnp.int32)}]}


def test_a_round_trip_keeps_every_bit(params, tmp_path):
    file = save_tensors(params, tmp_path / "p.safetensors", {"step": "7"})
    back = load_tensors(file, jax.eval_shape(lambda: params))
    assert jax.tree.structure(back) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert sorted(load_tensors(file)) == sorted(dotted(params))
    assert [each.name for each in tmp_path.iterdir()] == ["p.safetensors"]


def test_another_reader_sees_the_same(params, tmp_path):
    del params["blocks"][0]  # NumPy alone has no bfloat16
    found = load_file(save_tensors(params, tmp_path / "p.safetensors"))
    np.testing.assert_array_equal(found["mlp.dense0.weight"], params["mlp"]["dense0"]["weight"])
    np.testing.assert_array_equal(found["blocks.0.count"], 7)


@pytest.mark.slow
def test_torch_sees_the_same(params, tmp_path):
    try:
        python = peer_python("torch")
    except PeerMissingError as error:
        pytest.skip(str(error))
    file = save_tensors(params, tmp_path / "p.safetensors", {"step": "7"})
    code = (
        "import sys, json, safetensors.torch as s\n"
        "found = s.load_file(sys.argv[1])\n"
        "print(json.dumps({n: [str(t.dtype), list(t.shape), t.double().sum().item()] for n, t in found.items()}))"
    )
    done = subprocess.run([python, "-c", code, file], capture_output=True, text=True, check=False)
    if "No module named 'safetensors'" in done.stderr:
        pytest.skip("the torch environment has no safetensors")
    found = json.loads(done.stdout)
    for name, leaf in dotted(params).items():
        dtype, shape, total = found[name]
        assert dtype == f"torch.{leaf.dtype.name}"
        assert shape == list(leaf.shape)
        np.testing.assert_allclose(total, np.sum(np.asarray(leaf, np.float64)), rtol=1e-12)


def test_a_file_that_does_not_fit_lists_every_leaf(params, tmp_path):
    file = save_tensors(params, tmp_path / "p.safetensors")
    wanted = jax.eval_shape(lambda: params)
    wanted["mlp"]["dense0"]["weight"] = jax.ShapeDtypeStruct((4, 9), jnp.float32)
    wanted["mlp"]["dense1"]["bias"] = jax.ShapeDtypeStruct((2,), jnp.float16)
    wanted["new"] = jax.ShapeDtypeStruct((1,), jnp.float32)
    del wanted["blocks"][1]
    with pytest.raises(CheckpointError) as error:
        load_tensors(file, wanted)
    assert str(error.value).splitlines()[1:] == [
        "  missing: new float32[1]",
        "  not wanted: blocks.1.count int32[]",
        "  mlp.dense0.weight: wanted float32[4, 9], got float32[4, 8]",
        "  mlp.dense1.bias: wanted float16[2], got float32[2]",
    ]


def test_damaged_files_and_odd_trees_are_refused(params, tmp_path, key):
    file = save_tensors(params, tmp_path / "p.safetensors")
    whole = file.read_bytes()
    for content in (b"", whole[:50], whole[:-1]):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"p\.safetensors: not a readable safetensors file"):
            load_tensors(file)
    with pytest.raises(CheckpointError, match="not a readable"):
        load_tensors(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"two leaves are named 'a\.b'"):
        save_tensors({"a": {"b": jnp.ones(1)}, "a.b": jnp.ones(1)}, file)
    with pytest.raises(UsageError, match="not random keys: key"):
        save_tensors({"key": key}, file)
