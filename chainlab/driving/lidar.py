"""A forward LiDAR by exact ray-box tests; it sees cars, banks beside the road and flat ground, and no paint."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.driving.conditions import Condition
from chainlab.driving.noise import normal, seed_of, uniform
from chainlab.driving.road import Road, centre
from chainlab.driving.traffic import HEIGHT, LENGTH, WIDTH, Cars
from chainlab.driving.vehicle import Vehicle, into_frame
from chainlab.typing import PRNGKey

BANK_HEIGHT = 0.8  # m


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
    ego: Vehicle,
    cars: Cars,
    condition: Condition,
    key: PRNGKey,
    lidar: Lidar = LIDAR,
    road: Road | None = None,
) -> Float[Array, "rings beams"]:
    """Ranges of one sweep.

    Args:
        ego: The vehicle that carries the LiDAR.
        cars: The other cars.
        condition: Weather and faults of the LiDAR (all but `skew`, which is a matter of time).
        key: Randomness of noise and lost returns.
        lidar: The LiDAR.
        road: The road, whose banks it sees; without one the land is flat.

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
    if road is not None and road.banks is not None:
        horizontal = jnp.minimum(horizontal, _to_bank(ego, road, road.banks, down, lidar))
    ranges = jnp.minimum(horizontal / flat[:, None], lidar.reach)
    return _sense(ranges, condition, key, lidar)


def _to_bank(ego: Vehicle, road: Road, banks: Array, down: np.ndarray, lidar: Lidar) -> Array:
    """Horizontal distance at which each ray meets a bank, or else the ground.

    A bank rises by `BANK_HEIGHT` and stays as high. A ray can only meet it where it flies lower than that, and a
    stretch so short that the distance from the road is nearly linear along it.
    """
    azimuth = ego.heading + jnp.asarray(lidar.azimuth, ego.x.dtype)
    c, s = jnp.cos(azimuth)[None, :], jnp.sin(azimuth)[None, :]
    x = ego.x + lidar.forward * jnp.cos(ego.heading)
    y = ego.y + lidar.forward * jnp.sin(ego.heading)

    def beyond(distance: Array) -> Array:
        """How far behind the foot of a bank, m."""
        height, slope = centre(road, x + distance * c)
        offset = (y + distance * s - height) * jax.lax.rsqrt(1 + slope**2)
        return jnp.maximum(offset - banks[0], -offset - banks[1])

    shape = (len(down), len(lidar.azimuth))
    near = jnp.broadcast_to(jnp.asarray((lidar.height - BANK_HEIGHT) / down, ego.x.dtype)[:, None], shape)
    far = jnp.broadcast_to(jnp.asarray(lidar.height / down, ego.x.dtype)[:, None], shape)
    behind_near, behind_far = beyond(near), beyond(far)
    over, met = behind_near >= 0, behind_far > 0
    start, end = near, far
    for last in (False, True):  # regula falsi
        across = met & ~over
        share = behind_near / jnp.where(across, behind_near - behind_far, -1.0)
        crossing = start + jnp.where(across, share, 0.0) * (end - start)
        if not last:
            there = beyond(crossing)
            start, behind_near = jnp.where(there < 0, crossing, start), jnp.where(there < 0, there, behind_near)
            end, behind_far = jnp.where(there < 0, end, crossing), jnp.where(there < 0, behind_far, there)
    return jnp.where(met, jnp.where(over, near, crossing), far)


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
