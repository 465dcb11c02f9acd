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


class Road(NamedTuple):
    r"""Centre line of the ego lane, $f(x) = \sum_i a_i \sin(\omega_i x + \phi_i)$.

    Attributes:
        amplitude: $a_i$, in metres.
        frequency: $\omega_i$, in radians a metre.
        phase: $\phi_i$, in radians.
    """

    amplitude: Float[Array, " waves"]
    frequency: Float[Array, " waves"]
    phase: Float[Array, " waves"]


def sample_road(key: PRNGKey, curviness: float = 1.0) -> Road:
    """Draw a road of three waves; the tightest bends have a radius of some 80 m.

    Args:
        key: Randomness.
        curviness: Factor on every curvature; 0 is a straight road.

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
    return Road(curvature / frequency**2, frequency, jax.random.uniform(keys[2], (3,), maxval=2 * jnp.pi))


def centre(road: Road, x: Float[Array, "*points"]) -> tuple[Float[Array, "*points"], Float[Array, "*points"]]:
    """Height $f$ and slope $f'$ of the centre line over the world's x axis.

    Args:
        road: The road.
        x: World x in metres.

    Returns:
        World y in metres, and dy/dx.
    """
    y, slope = jnp.zeros_like(x), jnp.zeros_like(x)
    for a, w, p in zip(*(jnp.unstack(leaf) for leaf in road), strict=True):
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
    for a, w, p in zip(*(jnp.unstack(leaf) for leaf in road), strict=True):
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
