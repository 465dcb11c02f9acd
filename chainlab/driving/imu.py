"""Wheel speed and an inertial unit: what the ego knows of its own motion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.driving.vehicle import Vehicle
from chainlab.typing import PRNGKey

_NOISE = (0.05, 0.05, 0.05, 0.003)  # m/s, m/s^2, m/s^2, rad/s


def inertial(ego: Vehicle, key: PRNGKey, bias: Float[Array, "4"] | None = None) -> Float[Array, "4"]:
    r"""Wheel speed, acceleration along and across, and yaw rate, $(v, a, v r, r)$ with noise and bias.

    Args:
        ego: The ego vehicle.
        key: Randomness of the noise.
        bias: Constant error of each reading; none by default.

    Returns:
        m/s, m/s^2, m/s^2, rad/s.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.driving import Vehicle
        >>> zero = jnp.zeros(())
        >>> ego = Vehicle(zero, zero, zero, jnp.array(10.0), zero, zero, zero, zero)
        >>> inertial(ego, jax.random.key(0)).round().tolist()[0]
        10.0
    """
    exact = jnp.stack([ego.speed, ego.acceleration, ego.speed * ego.yaw_rate, ego.yaw_rate])
    reading = exact + jnp.asarray(_NOISE, exact.dtype) * jax.random.normal(key, (4,), exact.dtype)
    return reading if bias is None else reading + bias
