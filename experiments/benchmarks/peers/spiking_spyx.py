"""spyx's side: its own `run`, or with the dense layer taken out of the scan by hand.

Its LIF gives a step's spikes one step later, so that it runs one step more; the reset is differentiated and its
arctan surrogate is 1 / pi of the others'.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import spiking_case
from flax import nnx
from spyx import axn
from spyx import nn as spyx
from worker import serve

HOISTED = os.environ.get("SPIKING_VARIANT") == "hoisted"


def lif(size):
    return spyx.LIF((size,), beta=0.95, activation=axn.arctan(1), rngs=nnx.Rngs(0))


def linear(weight, bias):
    made = nnx.Linear(*weight.shape, use_bias=bias, rngs=nnx.Rngs(0))
    made.kernel[...] = jnp.asarray(weight)
    return made


def layer(case):
    x, weight = spiking_case.layer(case)
    x = jnp.concatenate([jnp.asarray(x), jnp.zeros((1, *x.shape[1:]))])
    net = lif(case["size"]) if HOISTED else spyx.Sequential(linear(weight, False), lif(case["size"]))
    graph, params = nnx.split(net)

    def hoisted(weight, x):
        current = (x.reshape(-1, case["size"]) @ weight).reshape(x.shape)
        return jnp.sum(spyx.run(nnx.merge(graph, params), current)[0])

    def total(params, x):
        return jnp.sum(spyx.run(nnx.merge(graph, params), x)[0])

    compiled = jax.jit(jax.value_and_grad(hoisted if HOISTED else total))
    start = jnp.asarray(weight) if HOISTED else params
    run = lambda: jax.block_until_ready(compiled(start, x))  # noqa: E731
    value, gradient = run()
    if not HOISTED:
        gradient = gradient["layers"][0]["kernel"][...]
    return run, spiking_case.summary(value, np.asarray(gradient))


def training(case):
    x, y, first, second = spiking_case.training(case)
    x, y = jnp.asarray(x), jnp.asarray(y)
    net = spyx.Sequential(linear(first, True), lif(case["hidden"]), linear(second, True), lif(10))
    graph, params = nnx.split(net)
    optimizer = optax.adam(5e-4)

    def loss(params):
        xs = jnp.broadcast_to(x, (case["time"], *x.shape))
        counts = jnp.sum(spyx.run(nnx.merge(graph, params), xs)[0], axis=0)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(counts, y))

    @jax.jit
    def update(params, state):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    state = {"params": params, "optimizer": optimizer.init(params)}

    def run():
        state["params"], state["optimizer"], value = update(state["params"], state["optimizer"])
        return float(value)

    return run, [run()]


serve(lambda case: {"layer": layer, "training": training}[case["kind"]](case))
