"""Spikes kept as booleans: the same gradient in less memory, and only where they are 0 and 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import nn, spiking

STEPS, BATCH, SIZE = 9, 2, 5


def network(surrogate=spiking.arctan, adjoint=True):
    neuron = spiking.lif(SIZE, surrogate=surrogate, adjoint=adjoint)
    return spiking.Network({"in": nn.dense(3, SIZE), "hidden": neuron, "out": nn.dense(SIZE, 2)})


@pytest.mark.parametrize("surrogate", [spiking.arctan, spiking.arctan.relaxation], ids=["spikes", "graded"])
def test_the_gradient_is_that_of_autodiff(surrogate, x64):
    """A smooth function in place of a spike must not be kept as a boolean."""
    xs = jax.random.normal(jax.random.key(1), (STEPS, BATCH, 3), jnp.float64) + 0.5
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), network().init(jax.random.key(0)))

    def gradient(adjoint):
        net = network(surrogate, adjoint)
        assert net.layers["hidden"].about["binary"] == (adjoint and surrogate is spiking.arctan)
        return jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(net.apply(params, xs)))))(params)

    for got, want in zip(*(jax.tree.leaves(gradient(adjoint)) for adjoint in (True, False)), strict=True):
        assert float(jnp.max(jnp.abs(want))) > 0
        np.testing.assert_allclose(got, want, rtol=1e-10)


def test_a_product_keeps_one_byte_a_spike():
    """What is kept for the derivative by JAX's own account: membranes as numbers, spikes as booleans."""
    net = network()
    params = net.init(jax.random.key(0))
    xs = jnp.ones((STEPS, BATCH, 3))
    pull = jax.eval_shape(lambda params: jax.vjp(lambda params: net.apply(params, xs), params)[1], params)
    kept = [leaf for leaf in jax.tree.leaves(pull) if leaf.shape == (STEPS, BATCH, SIZE)]
    assert sorted(leaf.dtype.name for leaf in kept) == ["bool", "float32"]
