"""Roads: the centre line of the ego lane as a sum of sine waves over the world's x axis.

Frames: world x roughly along the road and y to its left, metres; headings in radians, counter-clockwise from x.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.typing import PRNGKey

LANE_WIDTH = 3.5  # m
_WAVELENGTHS = ((80.0, 140.0), (140.0, 240.0), (240.0, 400.0))  # m
_CURVATURES = (0.006, 0.004, 0.003)  # 1/m, largest of each wave
_BANKS = ((6.5, 7.0), (5.1, 5.6))  # where the left and the right bank rise, m from the ego lane's centre
_NO_BANK = 1e3  # m


class Road(NamedTuple):
    r"""Centre line of the ego lane, $f(x) = \sum_i a_i \sin(\omega_i x + \phi_i)$.

    Attributes:
        amplitude: $a_i$, in metres.
        frequency: $\omega_i$, in radians a metre.
        phase: $\phi_i$, in radians.
        banks: Distances from the centre line at which a bank rises to the left and to the right, in metres; None
            where the land is flat.
    """

    amplitude: Float[Array, " waves"]
    frequency: Float[Array, " waves"]
    phase: Float[Array, " waves"]
    banks: Float[Array, "2"] | None = None


def sample_road(key: PRNGKey, curviness: float = 1.0, *, banks: bool = False) -> Road:
    """Draw a road of three waves; the tightest bends have a radius of some 80 m.

    Args:
        key: Randomness.
        curviness: Factor on every curvature; 0 is a straight road.
        banks: Whether there may be banks beside it: on either side in four of five cases, beyond the verge.

    Returns:
        The road.

    Example:
        >>> import jax
        >>> sample_road(jax.random.key(0)).amplitude.shape
        (3,)
    """
    keys = jax.random.split(key, 3)
    low, high = jnp.asarray(_WAVELENGTHS).T
    frequency = 2 * jnp.pi / jax.random.uniform(keys[0], (3,), minval=low, maxval=high)
    curvature = curviness * jnp.asarray(_CURVATURES) * jax.random.uniform(keys[1], (3,), minval=-1.0)
    phase = jax.random.uniform(keys[2], (3,), maxval=2 * jnp.pi)
    road = Road(curvature / frequency**2, frequency, phase)
    if not banks:
        return road
    there, where = jax.random.split(jax.random.fold_in(key, 3))
    nearest, farthest = jnp.asarray(_BANKS).T
    foot = jax.random.uniform(where, (2,), minval=nearest, maxval=farthest)
    return road._replace(banks=jnp.where(jax.random.bernoulli(there, 0.8, (2,)), foot, _NO_BANK))


def _waves(road: Road) -> list[tuple[Array, ...]]:
    """Amplitude, frequency and phase, wave by wave."""
    return list(zip(*(jnp.unstack(leaf) for leaf in (road.amplitude, road.frequency, road.phase)), strict=True))


def centre(road: Road, x: Float[Array, "*points"]) -> tuple[Float[Array, "*points"], Float[Array, "*points"]]:
    """Height $f$ and slope $f'$ of the centre line over the world's x axis.

    Args:
        road: The road.
        x: World x in metres.

    Returns:
        World y in metres, and dy/dx.
    """
    y, slope = jnp.zeros_like(x), jnp.zeros_like(x)
    for a, w, p in _waves(road):
        angle = w * x + p
        y, slope = y + a * jnp.sin(angle), slope + a * w * jnp.cos(angle)
    return y, slope


def curvature(road: Road, x: Float[Array, "*points"]) -> Float[Array, "*points"]:
    r"""Curvature of the centre line, $f'' / (1 + f'^2)^{3/2}$, in 1/m; positive bends left.

    Args:
        road: The road.
        x: World x in metres.

    Returns:
        The curvature.
    """
    _, slope = centre(road, x)
    second = jnp.zeros_like(x)
    for a, w, p in _waves(road):
        second = second - a * w**2 * jnp.sin(w * x + p)
    return second / (1 + slope**2) ** 1.5


class Place(NamedTuple):
    """A point relative to the road.

    Attributes:
        x: World x of the foot point on the centre line, in metres.
        offset: Signed distance from the centre line, left positive, in metres.
        heading: Heading of the road at the foot point, in radians.
    """

    x: Float[Array, "*points"]
    offset: Float[Array, "*points"]
    heading: Float[Array, "*points"]


def locate(road: Road, x: Float[Array, "*points"], y: Float[Array, "*points"]) -> Place:
    """Foot point, offset and road heading of a world point; exact up to third order in curvature times offset.

    Args:
        road: The road.
        x: World x in metres.
        y: World y in metres.

    Returns:
        The place.

    Example:
        >>> import jax.numpy as jnp
        >>> flat = Road(jnp.zeros(3), jnp.ones(3), jnp.zeros(3))
        >>> float(locate(flat, jnp.array(5.0), jnp.array(2.0)).offset)
        2.0
    """
    height, slope = centre(road, x)
    foot = x + (y - height) * slope / (1 + slope**2)
    height, slope = centre(road, foot)
    norm = jnp.sqrt(1 + slope**2)
    return Place(foot, ((y - height) - (x - foot) * slope) / norm, jnp.arctan(slope))


def at(road: Road, x: Float[Array, "*points"], offset: Float[Array, "*points"]) -> tuple[Array, Array, Array]:
    """World x, y and heading of the point that lies `offset` metres left of the centre line's point at `x`.

    Args:
        road: The road.
        x: World x of the foot point, in metres.
        offset: Distance to the left, in metres.

    Returns:
        World x and y in metres, and the road's heading in radians.
    """
    height, slope = centre(road, x)
    norm = jnp.sqrt(1 + slope**2)
    return x - offset * slope / norm, height + offset / norm, jnp.arctan(slope)
