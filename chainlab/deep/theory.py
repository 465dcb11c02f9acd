r"""Mean-field theory of random deep nets: phases, depth scales and isometry, for any activation.

A net of infinite width with weights $W \sim N(0, \sigma_w^2 / n)$ and biases $b \sim N(0, \sigma_b^2)$ is described by
the variance $q$ of its pre-activations and the correlation $c$ of two inputs, which move from layer to layer by
Gaussian integrals over the activation, taken here by quadrature in float64.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray
from scipy.optimize import brentq

from chainlab.errors import UsageError
from chainlab.nn.activation import named

Activation = str | Callable[[Array], Array]

_REACH = 10.0  # standard deviations; the normal density beyond is 1e-22
_NODES, _NODES_2D = 4000, 400
_VARIANCES = np.geomspace(1e-12, 1e8, 81)


class MeanField(NamedTuple):
    r"""Where a random net of infinite width settles with depth.

    Attributes:
        phase: `ordered` ($\chi < 1$), `critical` or `chaotic` ($\chi > 1$).
        variance: The fixed point $q^*$ of the variance of pre-activations: 0 where it vanishes, infinite where it
            grows.
        slope: $\chi = \sigma_w^2\, E[\phi'(\sqrt{q^*} z)^2]$, by which a layer multiplies the squared norm of an
            adjoint, and the distance of two inputs that are nearly equal.
        correlation: The fixed point $c^*$ of the correlation of two inputs.
        gradient_scale: $\xi_\nabla = 1 / |\ln \chi|$, layers in which the squared adjoint changes by a factor e.
        correlation_scale: $\xi_c = 1 / |\ln \chi_{c^*}|$, layers in which $|c - c^*|$ falls by a factor e: what a
            net still remembers of how its inputs differ.
    """

    phase: Literal["ordered", "critical", "chaotic"]
    variance: float
    slope: float
    correlation: float
    gradient_scale: float
    correlation_scale: float


class _Integrals:
    """Gaussian integrals over an activation and its derivative."""

    def __init__(self, activation: Activation) -> None:
        function = named(activation) if isinstance(activation, str) else activation
        self._value = jax.jit(jax.vmap(function))
        self._derivative = jax.jit(jax.vmap(jax.grad(lambda x: function(x))))
        self.nodes, self.weights = _normal(_NODES)

    def values(self, x: Float[ndarray, "*n"]) -> Float[ndarray, "*n"]:
        return self._evaluate(self._value, x)

    def slopes(self, x: Float[ndarray, "*n"]) -> Float[ndarray, "*n"]:
        return self._evaluate(self._derivative, x)

    def _evaluate(self, function: Callable[[Array], Array], x: ndarray) -> ndarray:
        with jax.enable_x64(True):
            return np.asarray(function(jnp.asarray(x.ravel(), jnp.float64))).reshape(x.shape)

    def square(self, variance: float) -> float:
        """E[phi(sqrt(q) z)^2]."""
        return float(self.weights @ self.values(math.sqrt(variance) * self.nodes) ** 2)

    def slope(self, variance: float, power: int = 2) -> float:
        """E[phi'(sqrt(q) z)^power]."""
        return float(self.weights @ self.slopes(math.sqrt(variance) * self.nodes) ** power)

    def product(self, variance: float, correlation: float, *, slopes: bool) -> float:
        """E[phi(u) phi(v)], or of phi', of two normal variables of equal variance."""
        nodes, weights = _normal(_NODES_2D)
        function = self.slopes if slopes else self.values
        first = math.sqrt(variance) * nodes
        rest = math.sqrt(max(0.0, 1 - correlation**2))
        second = math.sqrt(variance) * (correlation * nodes[:, None] + rest * nodes[None, :])
        return float(weights @ (function(first) * (function(second) @ weights)))


def _normal(number: int) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Midpoint rule for a standard normal: spectrally accurate where the integrand is smooth.

    The nodes are symmetric without 0, so that a jump of the derivative there (ReLU) is halved exactly.
    """
    step = 2 * _REACH / number
    nodes = -_REACH + step * (np.arange(number) + 0.5)
    density = np.exp(-(nodes**2) / 2)
    return nodes, density / density.sum()


def mean_field(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> MeanField:
    r"""The phase and the depth scales of a random net.

    $$q \leftarrow \sigma_w^2 E[\phi(\sqrt{q} z)^2] + \sigma_b^2, \qquad
      c \leftarrow (\sigma_w^2 E[\phi(u) \phi(v)] + \sigma_b^2) / q^*$$

    Args:
        activation: A name of `chainlab.nn.activations`, or an elementwise function.
        sigma_w: Standard deviation of a weight times the square root of the width.
        sigma_b: Standard deviation of a bias.

    Returns:
        Fixed points and scales.

    Raises:
        UsageError: A standard deviation is negative, or there is no such activation.

    Example:
        >>> [mean_field("tanh", sigma_w).phase for sigma_w in (0.8, 1.0, 1.5)]
        ['ordered', 'critical', 'chaotic']

    References:
        Poole et al., arXiv:1606.05340, equations 3 to 7; Schoenholz et al., arXiv:1611.01232, equations 5 to 9.
    """
    if sigma_w < 0 or sigma_b < 0:
        raise UsageError(f"sigma_w and sigma_b must not be negative, got {sigma_w} and {sigma_b}")
    return _mean_field(_Integrals(activation), sigma_w, sigma_b)


def _mean_field(integrals: _Integrals, sigma_w: float, sigma_b: float) -> MeanField:
    variance = _fixed_variance(integrals, sigma_w, sigma_b)
    point = min(max(variance, _VARIANCES[0]), _VARIANCES[-1])
    slope = sigma_w**2 * integrals.slope(point)
    phase = "critical" if abs(slope - 1) < 1e-6 else "chaotic" if slope > 1 else "ordered"
    correlation, at_correlation = 1.0, slope
    if phase == "chaotic" and math.isfinite(variance):
        correlation = _fixed_correlation(integrals, sigma_w, sigma_b, point)
        at_correlation = sigma_w**2 * integrals.product(point, correlation, slopes=True)
    return MeanField(phase, variance, slope, correlation, _scale(slope), _scale(at_correlation))


def _scale(factor: float) -> float:
    if factor <= 0:
        return 0.0
    return math.inf if abs(factor - 1) < 1e-6 else 1 / abs(math.log(factor))


def _fixed_variance(integrals: _Integrals, sigma_w: float, sigma_b: float) -> float:
    """The fixed point that a variance of 1 flows to."""

    def excess(variance: float) -> float:
        return (sigma_w**2 * integrals.square(variance) + sigma_b**2) / variance - 1

    squares = integrals.values(np.sqrt(_VARIANCES)[:, None] * integrals.nodes[None, :]) ** 2 @ integrals.weights
    found = (sigma_w**2 * squares + sigma_b**2) / _VARIANCES - 1
    if np.max(np.abs(found)) < 1e-6:  # every variance stays as it is (ReLU at sqrt(2))
        return 1.0
    start = int(np.argmin(np.abs(np.log(_VARIANCES))))
    step = 1 if found[start] > 0 else -1
    index = start
    while 0 <= index + step < len(_VARIANCES):
        if found[index] * found[index + step] <= 0:
            low, high = sorted((float(_VARIANCES[index]), float(_VARIANCES[index + step])))
            return _root(excess, low, high)
        index += step
    return math.inf if step > 0 else 0.0


def _fixed_correlation(integrals: _Integrals, sigma_w: float, sigma_b: float, variance: float) -> float:
    """The stable fixed point below 1 of the correlation map, whose slope at 1 exceeds 1."""

    def excess(correlation: float) -> float:
        mapped = sigma_w**2 * integrals.product(variance, correlation, slopes=False) + sigma_b**2
        return mapped / variance - correlation

    grid = 1 - np.geomspace(1, 1e-4, 25)
    found = [excess(c) for c in grid]
    for low, high, left, right in zip(grid, grid[1:], found, found[1:], strict=False):
        if left * right <= 0:
            return _root(excess, low, high)
    return 1.0 if found[0] > 0 else 0.0


def critical_sigma_w(activation: Activation, sigma_b: float = 0.0) -> float:
    r"""The $\sigma_w$ at which gradients neither shrink nor grow: $\chi(\sigma_w, \sigma_b) = 1$.

    For an activation whose variance has no stable fixed point (GELU, SiLU) $\chi$ jumps past 1, and the jump is
    where a variance of 1 stays 1.

    Args:
        activation: A name of `chainlab.nn.activations`, or an elementwise function.
        sigma_b: Standard deviation of a bias.

    Returns:
        The critical $\sigma_w$.

    Raises:
        UsageError: There is none in [0.05, 20], or no such activation.

    Example:
        >>> round(critical_sigma_w("relu"), 4), round(critical_sigma_w("tanh"), 4)
        (1.4142, 1.0)
    """
    integrals = _Integrals(activation)

    def excess(sigma_w: float) -> float:
        return _slope(integrals, sigma_w, sigma_b) - 1

    low, high = 0.05, 20.0
    if excess(low) > 0 or excess(high) < 0:
        raise UsageError(f"{activation} has no critical sigma_w in [{low}, {high}] at sigma_b={sigma_b}")
    return _root(excess, low, high)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    root: Any = brentq(function, low, high, xtol=1e-13)
    return float(root)


def _slope(integrals: _Integrals, sigma_w: float, sigma_b: float) -> float:
    variance = _fixed_variance(integrals, sigma_w, sigma_b)
    return sigma_w**2 * integrals.slope(min(max(variance, _VARIANCES[0]), _VARIANCES[-1]))


def order_to_chaos_line(activation: Activation, sigma_b: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    r"""The line between the phases in the plane of $(\sigma_w, \sigma_b)$.

    Args:
        activation: A name of `chainlab.nn.activations`, or an elementwise function.
        sigma_b: Standard deviations of the bias.

    Returns:
        The critical $\sigma_w$ of each.

    References:
        Schoenholz et al., Deep Information Propagation, arXiv:1611.01232, figure 1.
    """
    return np.asarray([critical_sigma_w(activation, float(b)) for b in sigma_b])


class Isometry(NamedTuple):
    """Mean and variance of the squared singular values of an input-output Jacobian; isometry is 1 and 0."""

    mean: float
    variance: float


def isometry(
    activation: Activation, sigma_w: float, sigma_b: float = 0.0, *, depth: int, orthogonal: bool = False
) -> Isometry:
    r"""How far a random net of infinite width is from keeping distances.

    $$\mu = \chi^L, \qquad \sigma^2 = \mu^2 L \left(\frac{\mu_2}{\mu_1^2} - 1 - s_1\right), \qquad
      \mu_k = E[\phi'(\sqrt{q^*} z)^{2k}]$$
    with $s_1 = -1$ for Gaussian and 0 for orthogonal weights.

    Args:
        activation: A name of `chainlab.nn.activations`, or an elementwise function.
        sigma_w: Standard deviation of a weight times the square root of the width; the scale of orthogonal weights.
        sigma_b: Standard deviation of a bias.
        depth: Number of layers.
        orthogonal: Whether the weights are orthogonal.

    Returns:
        Mean and variance of the squared singular values.

    Example:
        >>> isometry("identity", 1.0, depth=100, orthogonal=True)
        Isometry(mean=1.0, variance=0.0)

    References:
        Pennington, Schoenholz and Ganguli, arXiv:1711.04735, equations 9 and 22.
    """
    integrals = _Integrals(activation)
    variance = _fixed_variance(integrals, sigma_w, sigma_b)
    point = min(max(variance, _VARIANCES[0]), _VARIANCES[-1])
    first, second = integrals.slope(point, 2), integrals.slope(point, 4)
    mean = (sigma_w**2 * first) ** depth
    spread = depth * (second / first**2 - 1 + (0 if orthogonal else 1))
    return Isometry(round(mean, 12), round(mean**2 * spread, 12))
