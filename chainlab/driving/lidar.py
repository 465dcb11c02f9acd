"""A forward LiDAR by exact ray-box tests; it sees cars and flat ground, and no paint."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.driving.conditions import Condition
from chainlab.driving.noise import normal, seed_of, uniform
from chainlab.driving.traffic import HEIGHT, LENGTH, WIDTH, Cars
from chainlab.driving.vehicle import Vehicle, into_frame
from chainlab.typing import PRNGKey


class Lidar(NamedTuple):
    """Rings of beams over a forward sector.

    Attributes:
        elevation: Of each ring, degrees, all below the horizon.
        beams: Of a ring, left to right.
        sector: Half the sector, degrees.
        height: Above the ground, m.
        forward: Ahead of the rear axle, m.
        reach: Largest range, m; what a beam without a return reads.
    """

    elevation: tuple[float, ...] = (-10.0, -6.0, -3.0, -1.2)
    beams: int = 64
    sector: float = 60.0
    height: float = 1.8
    forward: float = 1.5
    reach: float = 70.0

    @property
    def azimuth(self) -> np.ndarray:
        """Of each beam, rad, left positive."""
        return np.radians(np.linspace(self.sector, -self.sector, self.beams))


LIDAR = Lidar()


def sweep(
    ego: Vehicle, cars: Cars, condition: Condition, key: PRNGKey, lidar: Lidar = LIDAR
) -> Float[Array, "rings beams"]:
    """Ranges of one sweep.

    Args:
        ego: The vehicle that carries the LiDAR.
        cars: The other cars.
        condition: Weather and faults of the LiDAR (all but `skew`, which is a matter of time).
        key: Randomness of noise and lost returns.
        lidar: The LiDAR.

    Returns:
        Ranges in m, `lidar.reach` where nothing returned.
    """
    dtype = ego.x.dtype
    condition = Condition(*(jnp.asarray(number, dtype) for number in condition))
    azimuth = np.asarray(lidar.azimuth, dtype)
    elevation = np.radians(lidar.elevation)
    down, flat = np.asarray(-np.tan(elevation), dtype), np.asarray(np.cos(elevation), dtype)
    forward, left = into_frame(ego, cars.x, cars.y)
    turn = (cars.heading - ego.heading)[:, None]
    c, s = jnp.cos(turn), jnp.sin(turn)
    ahead, aside = lidar.forward - forward[:, None], -left[:, None]  # the sensor seen from each car
    px, py = c * ahead + s * aside, c * aside - s * ahead
    dx = c * np.cos(azimuth)[None, :] + s * np.sin(azimuth)[None, :]
    dy = c * np.sin(azimuth)[None, :] - s * np.cos(azimuth)[None, :]
    enter_x, leave_x = _slab(px, dx, LENGTH / 2)
    enter_y, leave_y = _slab(py, dy, WIDTH / 2)
    enter, leave = jnp.maximum(enter_x, enter_y), jnp.minimum(leave_x, leave_y)  # cars, beams: horizontal distance
    roof, ground = (lidar.height - HEIGHT) / down, lidar.height / down
    enter = jnp.maximum(enter[:, None, :], roof[None, :, None])
    leave = jnp.minimum(leave[:, None, :], ground[None, :, None])
    hit = jnp.where((enter < leave) & (enter > 0), enter, lidar.reach)
    horizontal = jnp.minimum(jnp.min(hit, axis=0), ground[:, None])
    ranges = jnp.minimum(horizontal / flat[:, None], lidar.reach)
    return _sense(ranges, condition, key, lidar)


def _slab(position: Array, direction: Array, half: float) -> tuple[Array, Array]:
    """Where a ray enters and leaves the slab between -half and half."""
    inverse = 1 / jnp.where(jnp.abs(direction) < 1e-6, 1e-6, direction)
    one, other = (-half - position) * inverse, (half - position) * inverse
    return jnp.minimum(one, other), jnp.maximum(one, other)


def _sense(ranges: Array, condition: Condition, key: PRNGKey, lidar: Lidar) -> Array:
    seed = seed_of(key)
    shape, dtype = ranges.shape, ranges.dtype
    noisy = ranges + 0.03 * normal(seed, shape, dtype)
    phantom = uniform(seed ^ 0x68E31DA4, shape, dtype) < condition.ghosts
    noisy = jnp.where(phantom, lidar.reach * uniform(seed ^ 0x1B56C4E9, shape, dtype), noisy)
    extinction = 0.1 * condition.fog + 0.003 * condition.rain  # there and back, at the laser's wavelength
    returned = (1 - condition.lidar_dropout) * (1 - condition.lidar_empty) * jnp.exp(-2 * extinction * ranges)
    left = np.asarray(lidar.azimuth > 0, dtype)[None, :]
    returned = returned * (1 - condition.sector * left)
    lost = (uniform(seed ^ 0x7FEB352D, shape, dtype) >= returned) | (ranges >= lidar.reach) & ~phantom
    return jnp.where(lost, lidar.reach, jnp.clip(noisy, 0.0, lidar.reach))


def points(ranges: Float[Array, "*batch rings beams"], lidar: Lidar = LIDAR) -> Float[Array, "*batch rings beams 3"]:
    """Returns as points in the vehicle's frame: forward, left, up from the ground below the rear axle.

    Args:
        ranges: What `sweep` gives, m.
        lidar: The LiDAR.

    Returns:
        Points in m; those of beams without a return lie at the largest range.

    Example:
        >>> import jax.numpy as jnp
        >>> points(jnp.full((4, 64), 5.0)).shape
        (4, 64, 3)
    """
    elevation = np.radians(lidar.elevation)[:, None]
    azimuth = lidar.azimuth[None, :]
    direction = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation) + 0 * azimuth], -1
    )
    direction = np.asarray(direction, ranges.dtype).reshape((1,) * (ranges.ndim - 2) + direction.shape)
    mount = np.asarray([lidar.forward, 0.0, lidar.height], ranges.dtype).reshape((1,) * ranges.ndim + (3,))
    return ranges[..., None] * direction + mount


def ground_range(lidar: Lidar = LIDAR) -> tuple[float, ...]:
    """Range at which each ring meets flat ground, m, within the reach.

    Example:
        >>> round(ground_range()[0], 2)
        10.37
    """
    return tuple(min(lidar.height / math.sin(-math.radians(e)), lidar.reach) for e in lidar.elevation)
