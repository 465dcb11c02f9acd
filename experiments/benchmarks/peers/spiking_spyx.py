"""spyx's side: its own `run`, or with the dense layer taken out of the scan by hand.

Its LIF gives a step's spikes one step later, so that it runs one step more; the reset is differentiated and its
arctan surrogate is 1 / pi of the others'.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import spiking_case
import spiking_jax
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

    if HOISTED:
        return spiking_jax.layer(jax.jit(jax.value_and_grad(hoisted)), jnp.asarray(weight), x, np.asarray)
    kernel = lambda gradient: np.asarray(gradient["layers"][0]["kernel"][...])  # noqa: E731
    return spiking_jax.layer(jax.jit(jax.value_and_grad(total)), params, x, kernel)


serve(layer)
