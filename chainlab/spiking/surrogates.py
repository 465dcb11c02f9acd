"""Surrogate spikes: a step forwards, the derivative of a declared smooth relaxation backwards."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError

Shape = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def _triangular(u: Float[Array, "..."]) -> Float[Array, "..."]:
    u = jnp.clip(u, -1.0, 1.0)
    return u - 0.5 * u * jnp.abs(u)


def _gaussian(u: Float[Array, "..."]) -> Float[Array, "..."]:
    return math.sqrt(math.pi / 2) * jax.lax.erf(u / math.sqrt(2))


def _multi_gaussian(u: Float[Array, "..."]) -> Float[Array, "..."]:
    height, width = 0.15, 6.0  # h and s of the reference; the side lobes lie one sigma away
    lobes = _gaussian((u - 1.0) / width) + _gaussian((u + 1.0) / width)
    at_zero = 1 + height - 2 * height / width * math.exp(-0.5 / width**2)
    return ((1 + height) * _gaussian(u) - height * lobes) / at_zero


def _sparse_fast_sigmoid(u: Float[Array, "..."]) -> Float[Array, "..."]:
    u = jnp.clip(u, -4.0, 4.0)
    return u / (1 + jnp.abs(u))


def _exponential(u: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(u < 0, jnp.expm1(jnp.minimum(u, 0.0)), -jnp.expm1(-jnp.maximum(u, 0.0)))


def _cosine(u: Float[Array, "..."]) -> Float[Array, "..."]:
    u = jnp.clip(u, -1.0, 1.0)
    return 0.5 * (u + jnp.sin(math.pi * u) / math.pi)


shapes: Mapping[str, Shape] = MappingProxyType(
    {
        "fast_sigmoid": lambda u: u / (1 + jnp.abs(u)),
        "arctan": jnp.arctan,
        "sigmoid": lambda u: 2 * jnp.tanh(u / 2),
        "triangular": _triangular,
        "boxcar": lambda u: jnp.clip(u, -1.0, 1.0),
        "gaussian": _gaussian,
        "multi_gaussian": _multi_gaussian,
        "exponential": _exponential,
        "cosine": _cosine,
        "straight_through": lambda u: u,
        "leaky_straight_through": lambda u: jnp.where(u > 0, u, 0.1 * u),
        "sparse_fast_sigmoid": _sparse_fast_sigmoid,
    }
)
r"""Primitive functions $P$ with $P(0) = 0$ by name; the surrogate derivative is $h\,P'(k x)$, and $P'(0) = 1$.

`fast_sigmoid` is SuperSpike, `triangular` the piecewise-linear hat, `boxcar` the rectangle,
`multi_gaussian` has negative side lobes, `exponential` is SLAYER's, `sparse_fast_sigmoid` is exactly zero
for $|k x| > 4$ (few neurons pass a gradient on).

References:
    Zenke and Ganguli, SuperSpike, arXiv:1705.11146, equation 6 (`fast_sigmoid`); Bellec et al., LSNN,
    arXiv:1803.09574, equation 4 (`triangular`); Yin et al., arXiv:2103.12593, equation 7 (`multi_gaussian`);
    Shrestha and Orchard, SLAYER, arXiv:1810.08646, equation 12 (`exponential`); Perez-Nieves and Goodman,
    Sparse Spiking Gradient Descent, arXiv:2105.08810 (`sparse_fast_sigmoid`).
"""


@dataclass(frozen=True)
class Surrogate:
    r"""A spike $H(x) = [x > 0]$ whose derivative is that of a smooth relaxation.

    The relaxation is $R(x) = \tfrac12 + \tfrac{h}{k} P(k x)$ with a primitive $P$ from `shapes`, so that the
    surrogate derivative is $R'(x) = h\,P'(k x)$: `height` at the threshold, narrower as `scale` grows.
    A surrogate is a function of the distance to the threshold.

    Attributes:
        shape: A key of `shapes`, or a primitive function of your own.
        scale: $k$, the inverse width.
        height: $h$, the derivative at the threshold.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> spike = Surrogate("fast_sigmoid", scale=25.0)
        >>> spike(jnp.array([-0.2, 0.1])).tolist(), float(jax.grad(spike)(0.0))
        ([0.0, 1.0], 1.0)
    """

    shape: str | Shape = "arctan"
    scale: float = math.pi
    height: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unknown shapes and a scale or height that is not positive and finite."""
        if isinstance(self.shape, str) and self.shape not in shapes:
            raise UsageError(f"surrogate: unknown shape {self.shape!r}; choose one of {', '.join(sorted(shapes))}")
        for name, value in (("scale", self.scale), ("height", self.height)):
            if not 0 < value < math.inf:
                raise UsageError(f"surrogate: {name} must be positive and finite, got {value}")

    def relaxation(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The smooth function whose derivative the spike declares."""
        primitive = shapes[self.shape] if isinstance(self.shape, str) else self.shape
        return 0.5 + self.height / self.scale * primitive(self.scale * x)

    def derivative(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The surrogate derivative at a distance from the threshold."""
        return jax.jvp(self.relaxation, (x,), (jnp.ones_like(x),))[1]

    def __call__(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """One where `x` is positive, zero elsewhere, in the type of `x`."""
        return _spike(self, jnp.asarray(x))


arctan = Surrogate("arctan", scale=math.pi)
r"""The default: $R'(x) = 1 / (1 + (\pi x)^2)$, snnTorch's `atan(alpha=2)`."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _spike(surrogate: Surrogate, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    return (x > 0).astype(x.dtype)


@_spike.defjvp
def _spike_jvp(surrogate: Surrogate, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _spike(surrogate, x), surrogate.derivative(x) * dx
