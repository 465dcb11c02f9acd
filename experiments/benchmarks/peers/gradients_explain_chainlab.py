"""`chainlab.explain`, compiled and eager, and the plain gradient of the same loss."""

import jax
import jax.numpy as jnp
import numpy as np
from worker import serve

import chainlab
from chainlab import nn


def mlp(rng, width=256, depth=4, batch=64):
    """Mean square of an MLP's output; He weights drawn by numpy."""
    model = nn.mlp([width] * (depth + 1))
    params = model.init(jax.random.key(0))
    for layer in range(depth):
        weight = rng.normal(size=(width, width)) * np.sqrt(2 / width)
        params[f"dense{layer}"]["weight"] = jnp.asarray(weight, jnp.float32)
    x = jnp.asarray(rng.normal(size=(batch, width)), jnp.float32)
    return lambda params: jnp.mean(jnp.square(model.apply(params, x))), params


def attention(rng, batch=16, seq=64, dim=128, heads=4):
    """Mean square of a pre-norm transformer block: attention and a GELU layer, each with its residual."""
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), jnp.float32)  # noqa: E731
    norm, hidden = nn.layer_norm(dim), nn.mlp([dim, 4 * dim, dim], activation="gelu")
    params = {"qkv": draw(dim, 3 * dim), "out": draw(dim, dim), "mlp": hidden.init(jax.random.key(1))}
    params |= {"norm1": norm.init(jax.random.key(0)), "norm2": norm.init(jax.random.key(0))}
    x = jnp.asarray(rng.normal(size=(batch, seq, dim)), jnp.float32)

    def loss(params):
        mixed = nn.affine(norm.apply(params["norm1"], x), params["qkv"])
        query, key, value = jnp.split(mixed.reshape(batch, seq, 3 * heads, dim // heads).swapaxes(1, 2), 3, axis=1)
        weights = jax.nn.softmax(query @ key.swapaxes(-1, -2) / np.sqrt(dim / heads).astype(np.float32), axis=-1)
        y = x + nn.affine((weights @ value).swapaxes(1, 2).reshape(batch, seq, dim), params["out"])
        return jnp.mean(jnp.square(y + hidden.apply(params["mlp"], norm.apply(params["norm2"], y))))

    return loss, params


def prepare(case):
    """Compile, warm up, and report the norm of every leaf's gradient."""
    loss, params = {"mlp": mlp, "attention": attention}[case["model"]](np.random.default_rng(0))
    explain = chainlab.explain(loss)
    call = {
        "value_and_grad": jax.jit(lambda params: jax.value_and_grad(loss)(params)),
        "statistics": jax.jit(explain.statistics),
        "eager gradient": jax.value_and_grad(loss),
        "eager explain": explain,
        "eager explain, traced anew": lambda params: chainlab.explain(loss)(params),
    }[case["form"]]

    def step():
        result = call(params)
        if isinstance(result, chainlab.autodiff.Explanation):
            jax.block_until_ready([node.adjoint for node in result.nodes if node.active])
        else:
            jax.block_until_ready(result)
        return result[1] if isinstance(result, tuple) else result.gradients

    for _ in range(3):
        gradients = step()
    return step, [float(jnp.linalg.norm(leaf.ravel())) for leaf in jax.tree.leaves(gradients)]


serve(prepare)
