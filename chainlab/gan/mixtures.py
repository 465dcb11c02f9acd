"""Mixtures of Gaussians in the plane: data whose every mode is known."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.typing import PRNGKey


@dataclass(frozen=True)
class Mixture:
    """Equal isotropic Gaussians.

    Attributes:
        centers: Centres (modes, 2).
        deviation: Standard deviation of each along an axis.
    """

    centers: Float[np.ndarray, "modes 2"]
    deviation: float

    def sample(self, key: PRNGKey, count: int) -> Float[Array, "count 2"]:
        """Draw examples."""
        mode_key, noise_key = jax.random.split(key)
        mode = jax.random.randint(mode_key, (count,), 0, len(self.centers))
        noise = self.deviation * jax.random.normal(noise_key, (count, 2))
        return jnp.asarray(self.centers, jnp.float32)[mode] + noise

    def scaled(self) -> "Mixture":
        """The same mixture in units of its standard deviation over both axes."""
        unit = float(np.sqrt(self.centers.var() + self.deviation**2))
        return Mixture(self.centers / unit, self.deviation / unit)


def ring(modes: int = 8, radius: float = 2.0, deviation: float = 0.02) -> Mixture:
    """Gaussians on a circle.

    Args:
        modes: How many.
        radius: Radius of the circle.
        deviation: Standard deviation of each along an axis.

    Returns:
        The mixture.

    Raises:
        UsageError: There is no mode, or the radius or deviation is not positive.

    Example:
        >>> ring().centers.shape
        (8, 2)
    """
    if modes < 1 or radius <= 0 or deviation <= 0:
        raise UsageError(f"a ring needs modes >= 1, radius > 0 and deviation > 0, got {modes}, {radius}, {deviation}")
    angle = 2 * np.pi * np.arange(modes) / modes
    return Mixture(radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1), deviation)


def grid(modes: int = 25, spacing: float = 2.0, deviation: float = 0.05) -> Mixture:
    """Gaussians on a square grid around the origin.

    Args:
        modes: How many, a square number.
        spacing: Distance of neighbours.
        deviation: Standard deviation of each along an axis.

    Returns:
        The mixture.

    Raises:
        UsageError: `modes` is not a square, or the spacing or deviation is not positive.

    Example:
        >>> grid(100).centers.max().item()
        9.0
    """
    side = round(max(modes, 0) ** 0.5)
    if side < 1 or side**2 != modes or spacing <= 0 or deviation <= 0:
        raise UsageError(
            f"a grid needs a square number of modes, spacing > 0 and deviation > 0, got {modes}, {spacing}, {deviation}"
        )
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return Mixture(np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2), deviation)


def finest_scale(x: Float[np.ndarray, "examples dim"]) -> float:
    r"""The finest scale of a cloud of points: the deviation of its clusters, or of the whole where there are none.

    The correlation integral $C(r)$, the share of pairs closer than $r$, grows like $r^d$ within a cluster and stands
    still between the size of the clusters and their distance. Within a $d$-dimensional Gaussian of deviation $\sigma$
    its logarithmic slope falls to $d/2$ at a known multiple of $\sigma$ ($r = 2.24 \sigma$ in the plane), so the first
    radius at which it does gives $\sigma$.

    Args:
        x: Some thousand examples of low dimension.

    Returns:
        The scale, in the units of `x`.

    Raises:
        UsageError: There are fewer than 100 examples.

    References:
        Grassberger and Procaccia, Measuring the strangeness of strange attractors, Physica D 9, 1983, equation 5.
    """
    from scipy.optimize import brentq
    from scipy.spatial import KDTree
    from scipy.stats import chi2

    count, dimension = x.shape
    if count < 100:
        raise UsageError(f"finest_scale needs at least 100 examples, got {count}")
    widest = float(np.linalg.norm(x.std(axis=0)))
    radii = widest * np.geomspace(1e-4, 2, 100)
    tree = KDTree(x)
    pairs = (tree.count_neighbors(tree, radii) - count) / 2
    known = pairs > 200  # below, the slope is noise
    slope = np.gradient(np.log(np.maximum(pairs, 1)), np.log(radii))
    falls = np.flatnonzero(known & (slope < dimension / 2))
    radius = radii[falls[0]] if len(falls) else radii[-1]
    # the squared distance of two draws is 2 sigma^2 chi2(d): solve for the ratio where its slope is d/2
    level: Any = brentq(lambda u: 2 * u * chi2.pdf(u, dimension) / chi2.cdf(u, dimension) - dimension / 2, 1e-3, 100.0)
    return float(radius / np.sqrt(2 * level))
