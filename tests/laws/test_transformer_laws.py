"""Laws that every kind of language model obeys."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.transformer import Architecture, Experts, language_model

SMALL = Architecture(layers=2, heads=2, dim=16, context=12)
MODELS = {
    "nanogpt": SMALL,
    "gpt2 with biases": dataclasses.replace(SMALL, bias=True),
    "rotary, grouped, swiglu": dataclasses.replace(
        SMALL, kv_heads=1, positions="rotary", qk_norm=True, norm="rms", mlp="swiglu", tied=False, softcap=15.0
    ),
    "local": dataclasses.replace(SMALL, pattern=("local",), window=3, positions="rotary"),
    "linear": dataclasses.replace(SMALL, pattern=("linear",), positions="none"),
    "hybrid, mixed in depth": dataclasses.replace(
        SMALL, layers=4, pattern=("global", "local", "local", "linear"), window=3, mix=2, mlp="relu2", norm="rms_plain"
    ),
    "blockwise": dataclasses.replace(SMALL, attention="blockwise"),
    "experts": dataclasses.replace(SMALL, experts=Experts(count=4, active=2), mlp="geglu"),
}
every = pytest.mark.parametrize("name", MODELS)


@cache
def made(name):
    model = language_model(MODELS[name], vocabulary=7)
    params = jax.jit(model.init)(jax.random.key(1))
    # away from the initial point, where zero-initialised parts hide their derivatives
    noise = iter(jax.random.split(jax.random.key(2), len(jax.tree.leaves(params))))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(noise), x.shape), params)
    tokens = jax.random.randint(jax.random.key(3), (2, 12), 0, 7)
    return model, params, tokens, jax.jit(model.forward)(params, tokens).logits


@pytest.mark.slow
@every
def test_logits_are_float32_and_finite(name):
    _, _, _, logits = made(name)
    assert logits.shape == (2, 12, 7)
    assert logits.dtype == jnp.float32
    assert np.all(np.isfinite(logits))


@pytest.mark.slow
@every
def test_eager_is_jitted(name):
    model, params, tokens, logits = made(name)
    np.testing.assert_allclose(model.apply(params, tokens), logits, atol=2e-5)


@pytest.mark.slow
@every
def test_the_output_has_no_derivative_by_later_inputs(name):
    """Causality: d logits[t] / d inputs[s] is exactly zero for s > t, and not for s = t."""
    model, params, tokens, _ = made(name)
    table = params["tokens"]["table"]
    at = 5

    def output(rows):
        """Every position reads a row of its own, so that the derivative separates positions."""
        own = {**params, "tokens": {"table": rows}}
        if model.architecture.tied:
            own |= {"head": {"weight": table.T}}
        return jnp.sum(jnp.sin(untied.apply(own, jnp.arange(12)[None])[0, at]))

    untied = language_model(dataclasses.replace(model.architecture, tied=False), vocabulary=12)
    gradient = np.asarray(jax.jit(jax.grad(output))(table[tokens[0]]))
    assert np.all(gradient[at + 1 :] == 0.0)
    assert np.all(np.any(gradient[at - 1 : at + 1] != 0.0, axis=1))
    if "local" not in MODELS[name].pattern or "global" in MODELS[name].pattern:
        assert np.all(np.any(gradient[: at + 1] != 0.0, axis=1))
    else:  # two layers of window 3 reach back 4 tokens
        assert np.all(gradient[: at - 4] == 0.0)


@every
@pytest.mark.slow
def test_cached_logits_are_the_uncached_ones(name):
    model, params, tokens, logits = made(name)
    forward = jax.jit(model.forward)
    prompt = 5
    output = forward(params, tokens[:, :prompt], cache=model.start(params, 2))
    np.testing.assert_allclose(output.logits, logits[:, :prompt], atol=1e-5)
    for t in range(prompt, 12):
        output = forward(params, tokens[:, t : t + 1], cache=output.cache)
        np.testing.assert_allclose(output.logits[:, 0], logits[:, t], atol=1e-5)


@pytest.mark.slow
@every
def test_scanned_unrolled_and_recomputed_layers_have_the_same_gradients(name):
    _, params, tokens, _ = made(name)

    def gradient(**change):
        model = language_model(dataclasses.replace(MODELS[name], **change), vocabulary=7)
        return jax.jit(jax.grad(lambda p: jnp.mean(jnp.sin(model.apply(p, tokens)))))(params)

    reference = gradient(execution="unrolled")
    for change in ({"execution": "scan", "remat": "full"}, {"execution": "unrolled", "remat": "dots"}):
        jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=2e-5), gradient(**change), reference)
    for path, leaf in jax.tree.leaves_with_path(reference):
        assert np.all(np.isfinite(leaf)), path
        assert np.any(leaf != 0), path


@pytest.mark.slow
@every
def test_a_batch_is_its_sequences(name):
    model, params, tokens, logits = made(name)
    alone = jax.jit(jax.vmap(lambda row: model.apply(params, row[None])[0]))(tokens)
    np.testing.assert_allclose(alone, logits, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2 with biases", "hybrid, mixed in depth"])
def test_bfloat16_is_a_policy_and_the_loss_stays_float32(name):
    _, params, tokens, logits = made(name)
    model = language_model(dataclasses.replace(MODELS[name], precision="bfloat16"), vocabulary=7)
    got = jax.jit(model.apply)(params, tokens)
    assert got.dtype == jnp.float32
    assert 0 < np.max(np.abs(got - logits)) < 0.15 * np.max(np.abs(logits))


@pytest.mark.slow
def test_noise_needs_a_key_and_follows_it():
    model = language_model(dataclasses.replace(SMALL, dropout=0.2, drop_path=0.5), vocabulary=7)
    _, params, tokens, logits = made("nanogpt")
    forward = jax.jit(model.apply)
    np.testing.assert_allclose(forward(params, tokens), logits, atol=2e-5)
    one, same, other = (forward(params, tokens, key=jax.random.key(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.max(np.abs(one - other)) > 1e-2
