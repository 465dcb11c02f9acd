"""A forward radar: one detection a car, with its range rate."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.driving.traffic import Cars
from chainlab.driving.vehicle import Vehicle, into_frame
from chainlab.typing import PRNGKey

_REACH, _SECTOR = 120.0, 0.6  # m, rad
_NOISE = (0.3, 0.01, 0.1)  # m, rad, m/s


def detect(ego: Vehicle, cars: Cars, key: PRNGKey) -> Float[Array, "cars 4"]:
    """Range, azimuth and range rate of every car in the radar's sector.

    Args:
        ego: The vehicle that carries the radar, at its rear axle.
        cars: The other cars.
        key: Randomness of the noise.

    Returns:
        One row a car: range in m, azimuth in rad (left positive), range rate in m/s, and 1 where it is seen, else
        a row of zeros.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.driving import Cars, Vehicle
        >>> zero, at = jnp.zeros(()), lambda value: jnp.array([value])
        >>> ego = Vehicle(zero, zero, zero, jnp.array(10.0), zero, zero, zero, zero)
        >>> cars = Cars(at(30.0), at(0.0), at(0.0), at(4.0), at(0.5))
        >>> detect(ego, cars, jax.random.key(0)).round().tolist()
        [[30.0, 0.0, -6.0, 1.0]]
    """
    forward, left = into_frame(ego, cars.x, cars.y)
    distance = jnp.sqrt(forward**2 + left**2 + 1e-6)
    azimuth = jnp.arctan2(left, forward)
    turn = cars.heading - ego.heading
    vx, vy = cars.speed * jnp.cos(turn) - ego.speed, cars.speed * jnp.sin(turn)
    rate = (forward * vx + left * vy) / distance
    exact = jnp.stack([distance, azimuth, rate], axis=-1)
    noisy = exact + jnp.asarray(_NOISE, exact.dtype)[None, :] * jax.random.normal(key, exact.shape, exact.dtype)
    seen = (distance < _REACH) & (jnp.abs(azimuth) < _SECTOR)
    rows = jnp.concatenate([noisy, jnp.ones_like(noisy[:, :1])], axis=-1)
    return jnp.where(seen[:, None], rows, 0.0)
