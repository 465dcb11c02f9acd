"""Our block equals one put together from flax's own layers, with the same weights."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.transformer import Architecture
from chainlab.transformer.block import block

SHAPE = Architecture(layers=1, heads=4, dim=32, context=10, bias=True)


def ours():
    made = block(SHAPE, "global")
    params = made.init(jax.random.key(0))
    noise = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(noise), x.shape), params)
    x = jax.random.normal(jax.random.key(2), (2, 10, 32))
    return made, params, x


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x):
        mask = linen.make_causal_mask(x[..., 0])
        h = linen.LayerNorm(epsilon=1e-5, name="attention_norm")(x)
        x = x + linen.MultiHeadDotProductAttention(num_heads=4, name="attention")(h, mask=mask)
        h = linen.LayerNorm(epsilon=1e-5, name="mlp_norm")(x)
        h = linen.gelu(linen.Dense(128, name="up")(h), approximate=False)
        return x + linen.Dense(32, name="down")(h)


def flax_weights(params):
    """Weights of ours under flax's names and shapes."""
    attention, mlp = params["attention"], params["mlp"]
    heads = {
        name: {"kernel": attention[name]["weight"].reshape(32, 4, 8), "bias": attention[name]["bias"].reshape(4, 8)}
        for name in ("query", "key", "value")
    }
    out = {"kernel": attention["out"]["weight"].reshape(4, 8, 32), "bias": attention["out"]["bias"]}
    norms = {
        name: {"scale": params[name]["gain"], "bias": params[name]["bias"]} for name in ("attention_norm", "mlp_norm")
    }
    dense = {name: {"kernel": mlp[name]["weight"], "bias": mlp[name]["bias"]} for name in ("up", "down")}
    return {"attention": {**heads, "out": out}, **norms, **dense}


@pytest.mark.slow
def test_linen_block_with_the_same_weights_gives_the_same_values_and_gradients():
    made, params, x = ours()

    def theirs(params, x):
        return LinenBlock().apply({"params": flax_weights(params)}, x)

    def mine(params, x):
        return made.apply(params, x)[0]

    np.testing.assert_allclose(jax.jit(mine)(params, x), jax.jit(theirs)(params, x), atol=5e-6)
    gradients = [jax.jit(jax.grad(lambda p, f=f: jnp.mean(jnp.sin(f(p, x)))))(params) for f in (mine, theirs)]
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=5e-6), *gradients)


@pytest.mark.slow
def test_nnx_attention_with_the_same_weights_gives_the_same_values():
    nnx = pytest.importorskip("flax.nnx")
    from chainlab.transformer.mixer import softmax_mixer

    _, params, x = ours()
    reference = nnx.MultiHeadAttention(num_heads=4, in_features=32, decode=False, rngs=nnx.Rngs(0))
    for name, weights in flax_weights(params)["attention"].items():
        layer = getattr(reference, name)
        layer.kernel[...], layer.bias[...] = weights["kernel"], weights["bias"]
    wanted = reference(x, mask=nnx.make_causal_mask(x[..., 0]))
    got, _ = softmax_mixer(SHAPE, "global").apply(params["attention"], x)
    np.testing.assert_allclose(got, wanted, atol=5e-6)
