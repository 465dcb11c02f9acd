"""Laws of every neuron and surrogate: one table of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab
from chainlab import spiking

SIZE = 3
NEURONS = {
    "if": lambda **o: spiking.integrate_and_fire(SIZE, **o),
    "lif": lambda **o: spiking.lif(SIZE, learn=("decay", "threshold"), spread=0.1, **o),
    "lif at once": lambda **o: spiking.lif(SIZE, timing="immediate", reset="zero", **o),
    "lif carried": lambda **o: spiking.lif(SIZE, timing="carried", **o),
    "current_lif": lambda **o: spiking.current_lif(SIZE, learn=("synaptic_decay",), normalize=True, **o),
    "adaptive_lif": lambda **o: spiking.adaptive_lif(SIZE, learn=("adaptation",), **o),
    "leaky_integrator": lambda **o: spiking.leaky_integrator(SIZE, learn=("decay",), **o),
    "izhikevich": lambda dtype: spiking.izhikevich(SIZE),
    "delay": lambda **o: spiking.delay(SIZE, 3, **o),
    "recurrent lif": lambda **o: spiking.recurrent(spiking.lif(SIZE), SIZE, **o),
    "recurrent adaptive_lif": lambda **o: spiking.recurrent(spiking.adaptive_lif(SIZE), SIZE, **o),
}


@pytest.mark.parametrize("shape", sorted(spiking.shapes))
def test_a_surrogate_is_the_derivative_of_its_relaxation(shape):
    """`check` with the relaxation as reference; and it finds a surrogate of another width."""
    surrogate = spiking.Surrogate(shape, scale=3.0, height=0.7)
    x = jnp.linspace(-0.61, 0.63, 9)
    spikes = lambda x: jnp.sum(surrogate(x))  # noqa: E731
    assert chainlab.check(spikes, x, reference=lambda x: jnp.sum(surrogate.relaxation(x))).ok
    wider = spiking.Surrogate(shape, scale=3.0, height=0.8)
    assert not chainlab.check(spikes, x, reference=lambda x: jnp.sum(wider.relaxation(x))).ok


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_shapes_and_types_are_those_of_the_current(name, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        neuron = NEURONS[name](dtype=dtype)
        params = jax.eval_shape(neuron.init, jax.random.key(0))
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(params))
        for batch in ((), (2,), (2, 3)):

            def run(params, currents):
                step = neuron.step(params, neuron.rest(params, currents[0]), currents[0])
                unroll = neuron.unroll or (lambda *arguments: spiking.scan(neuron, *arguments))
                return step, unroll(params, neuron.rest(params, currents[0]), currents)

            currents = jax.ShapeDtypeStruct((4, *batch, SIZE), dtype)
            (state, output), (last, outputs) = jax.eval_shape(run, params, currents)
            assert output.shape == (*batch, SIZE)
            assert outputs.shape == (4, *batch, SIZE)
            assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), last)
            assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((state, output, outputs)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURONS)
def test_unrolling_is_stepping_and_vmap_is_a_loop(name, key):
    """Outputs and gradients; finite, and the same on every call."""
    neuron = NEURONS[name](dtype=jnp.float32)
    params = neuron.init(key)
    unroll = neuron.unroll or (lambda *arguments: spiking.scan(neuron, *arguments))
    currents = 0.7 + 0.5 * jax.random.normal(jax.random.key(1), (8, 2, SIZE))
    currents = 20 * currents if name == "izhikevich" else currents

    def stepping(params, currents):
        state, outputs = neuron.rest(params, currents[0]), []
        for current in currents:
            state, output = neuron.step(params, state, current)
            outputs.append(output)
        return jnp.stack(outputs)

    def at_once(params, currents):
        return unroll(params, neuron.rest(params, currents[0]), currents)[1]

    def gradients(run):
        weight = jax.random.normal(jax.random.key(2), currents.shape)
        loss = lambda params, currents: jnp.sum(weight * run(params, currents))  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, currents)

    (want, want_gradients), (got, got_gradients) = gradients(stepping), gradients(at_once)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    for a, b in zip(jax.tree.leaves(got_gradients), jax.tree.leaves(want_gradients), strict=True):
        assert bool(jnp.isfinite(a).all())
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-3 * max(1.0, float(jnp.abs(b).max())))
    mapped = jax.vmap(at_once, in_axes=(None, 1), out_axes=1)(params, currents)
    np.testing.assert_allclose(mapped, at_once(params, currents), rtol=1e-4, atol=1e-4)
