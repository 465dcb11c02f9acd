"""A gradient step of a deep ReZero chain, as `chainlab.deep` runs it; or the memory that it takes."""

import jax
import jax.numpy as jnp
import numpy as np
from deep_net import arrays, growth
from worker import serve

from chainlab import deep


def layer(p, h):
    return h + p["scale"] * jax.nn.relu(h @ p["weight"] + p["bias"])


def prepare(case):
    def loss(params, x, y):
        logits = deep.deep(layer, params["chain"], x, memory=case["memory"]) @ params["head"]
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0])

    gradient = jax.jit(jax.value_and_grad(loss))
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jnp.ones((8, 8))))  # what a process needs at all

    def build():
        weight, bias, scale, head, x, y = arrays(case)
        chain = {"weight": jnp.asarray(weight), "bias": jnp.asarray(bias), "scale": jnp.asarray(scale)}
        return {"chain": chain, "head": jnp.asarray(head)}, jnp.asarray(x), jnp.asarray(y)

    def step(inputs):
        return jax.block_until_ready(gradient(*inputs))

    if case["measure"] == "memory":
        return (lambda: None), growth(build, step, compiled=lambda i: gradient.lower(*i).compile())
    inputs = build()
    value, gradients = step(inputs)
    norm = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradients)))
    return (lambda: step(inputs)), [float(value), float(norm)]


if __name__ == "__main__":
    serve(prepare)
