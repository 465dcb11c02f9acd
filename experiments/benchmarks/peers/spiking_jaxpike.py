"""jaxpike's side: its own `unroll`, which hoists the dense layer; the reset is at once and differentiated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxpike
import numpy as np
import spiking_case
import spiking_jax
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
    net = jaxpike.Sequential(dense(weight, False), lif())

    def total(weight, x):
        placed = eqx.tree_at(lambda net: net.layers[0].weight, net, weight)
        return jnp.sum(jaxpike.unroll(placed, x)[0])

    compiled = jax.jit(jax.value_and_grad(total))
    start = net.layers[0].weight
    return spiking_jax.layer(compiled, start, jnp.asarray(x), lambda gradient: np.asarray(gradient).T / (1 - DECAY))


def training(case):
    x, y, first, second = spiking_jax.images(case)
    net = jaxpike.Sequential(dense(first, True), lif(), dense(second, True), lif())
    # its time constants are parameters too, and would be learnt
    is_dense = lambda layer: isinstance(layer, jaxpike.Dense)  # noqa: E731
    learnt = jax.tree.map(lambda layer: jax.tree.map(lambda _: is_dense(layer), layer), net, is_leaf=is_dense)
    params, static = eqx.partition(net, jax.tree.map(lambda leaf, on: on and eqx.is_inexact_array(leaf), net, learnt))

    def loss(params):
        xs = jnp.broadcast_to(x, (case["time"], *x.shape))
        return spiking_jax.cross_entropy(jnp.sum(jaxpike.unroll(eqx.combine(params, static), xs)[0], axis=0), y)

    return spiking_jax.adam(jax.value_and_grad(loss), params, case["steps"], unit=1 / (1 - DECAY))


serve(lambda case: {"layer": layer, "training": training}[case["kind"]](case))
