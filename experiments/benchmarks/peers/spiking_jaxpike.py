"""jaxpike's side: its own `unroll`, which hoists the dense layer; the reset is at once and differentiated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxpike
import numpy as np
import optax
import spiking_case
from worker import serve

DECAY = 0.95


def lif():
    return jaxpike.LIF(tau=float(-1 / np.log(DECAY)), surrogate=jaxpike.ATan())


def dense(weight, bias):
    made = jaxpike.Dense(weight.shape[0], weight.shape[1], key=jax.random.key(0), use_bias=bias)
    # its membrane takes in (1 - decay) of the current
    return eqx.tree_at(lambda layer: layer.weight, made, jnp.asarray(weight.T) / (1 - DECAY))


def layer(case):
    x, weight = spiking_case.layer(case)
    x = jnp.asarray(x)
    net = jaxpike.Sequential(dense(weight, False), lif())

    def total(weight, x):
        placed = eqx.tree_at(lambda net: net.layers[0].weight, net, weight)
        return jnp.sum(jaxpike.unroll(placed, x)[0])

    compiled = jax.jit(jax.value_and_grad(total))
    start = net.layers[0].weight
    run = lambda: jax.block_until_ready(compiled(start, x))  # noqa: E731
    value, gradient = run()
    return run, spiking_case.summary(value, np.asarray(gradient).T / (1 - DECAY))


def training(case):
    x, y, first, second = spiking_case.training(case)
    x, y = jnp.asarray(x), jnp.asarray(y)
    net = jaxpike.Sequential(dense(first, True), lif(), dense(second, True), lif())
    optimizer = optax.adam(5e-4)

    def loss(net):
        xs = jnp.broadcast_to(x, (case["time"], *x.shape))
        counts = jnp.sum(jaxpike.unroll(net, xs)[0], axis=0)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(counts, y))

    @eqx.filter_jit
    def update(net, state):
        value, gradients = eqx.filter_value_and_grad(loss)(net)
        updates, state = optimizer.update(gradients, state)
        return eqx.apply_updates(net, updates), state, value

    state = {"net": net, "optimizer": optimizer.init(eqx.filter(net, eqx.is_inexact_array))}

    def run():
        state["net"], state["optimizer"], value = update(state["net"], state["optimizer"])
        return float(value)

    return run, [run()]


serve(lambda case: {"layer": layer, "training": training}[case["kind"]](case))
