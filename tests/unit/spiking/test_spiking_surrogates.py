import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import spiking
from chainlab.errors import UsageError


@pytest.mark.parametrize("shape", sorted(spiking.shapes))
@pytest.mark.parametrize(("scale", "height"), [(1.0, 1.0), (7.0, 0.3)])
def test_the_declared_derivative_is_that_of_the_relaxation(shape, scale, height, x64):
    surrogate = spiking.Surrogate(shape, scale=scale, height=height)
    x = jnp.linspace(-5.013, 5.017, 400) / scale  # no point of it lies on a kink
    step = 1e-5 / scale
    declared = jax.vmap(jax.grad(surrogate))(x)
    assert declared.dtype == jnp.float64
    wanted = (surrogate.relaxation(x + step) - surrogate.relaxation(x - step)) / (2 * step)
    np.testing.assert_allclose(declared, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", sorted(spiking.shapes))
def test_every_surrogate_has_its_height_at_the_threshold(shape):
    surrogate = spiking.Surrogate(shape, scale=3.0, height=0.7)
    np.testing.assert_allclose(surrogate.derivative(jnp.float32(1e-7)), 0.7, rtol=1e-5)


@pytest.mark.parametrize("shape", sorted(spiking.shapes))
def test_spikes_are_steps_and_keep_their_type(shape):
    surrogate = spiking.Surrogate(shape)
    for dtype in (jnp.float32, jnp.bfloat16):
        spikes = surrogate(jnp.array([-1.0, 0.0, 1e-3], dtype))
        assert spikes.dtype == dtype
        assert spikes.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.slow
def test_forward_mode_and_second_order_agree_with_the_relaxation(x64):
    surrogate = spiking.Surrogate("fast_sigmoid", scale=2.0)
    x = jnp.array(0.3)
    np.testing.assert_allclose(jax.jvp(surrogate, (x,), (jnp.ones(()),))[1], surrogate.derivative(x))
    np.testing.assert_allclose(jax.grad(jax.grad(surrogate))(x), jax.grad(jax.grad(surrogate.relaxation))(x))


def test_a_primitive_of_ones_own():
    surrogate = spiking.Surrogate(jnp.sin, scale=2.0)
    np.testing.assert_allclose(jax.grad(surrogate)(0.1), np.cos(0.2), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"shape": "arctam"}, "arctan"), ({"scale": -1.0}, "scale"), ({"height": float("inf")}, "height")],
)
def test_bad_surrogates_name_the_field(arguments, message):
    with pytest.raises(UsageError, match=message):
        spiking.Surrogate(**arguments)
