"""Constants of a neuron model: fixed numbers, or learnt parameters of the same meaning."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.typing import Params, PRNGKey

Value = float | int | Float[Array, " size"] | Float[np.ndarray, " size"]


def decay(tau: Value, dt: float = 1.0) -> Value:
    r"""The factor by which a state decays in one step, $e^{-\Delta t / \tau}$.

    Args:
        tau: Time constant, in the unit of `dt`; a number or one a neuron.
        dt: Length of a step.

    Returns:
        The decay, in (0, 1).

    Raises:
        UsageError: `tau` or `dt` is not positive.

    Example:
        >>> round(decay(20e-3, 2e-3), 4)
        0.9048
    """
    for name, value in (("tau", tau), ("dt", dt)):
        if not np.all(np.asarray(value) > 0):
            raise UsageError(f"{name} must be a positive time, got {value}")
    return math.exp(-dt / tau) if isinstance(tau, int | float) else jnp.exp(-dt / jnp.asarray(tau))


@dataclass(frozen=True)
class Values:
    r"""The named constants of a neuron model and which of them are learnt.

    A learnt decay is stored as `log_tau`-like $\theta = \log(\tau / \Delta t)$ with
    $\beta = e^{-e^{-\theta}}$, so that it stays in (0, 1) whatever the optimiser does; the other constants
    are stored as they are. A learnt constant has one value a neuron.

    Attributes:
        size: Number of neurons (features of the last axis).
        given: The constants by name.
        learn: Names of those that are parameters.
        spread: Standard deviation of the initial $\theta$ over the neurons.
        dtype: Type of the parameters.
    """

    size: int
    given: Mapping[str, Value]
    learn: Collection[str] = ()
    spread: float = 0.0
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        """Check every constant; names the wrong one."""
        if self.size < 1:
            raise UsageError(f"size: a layer needs at least one neuron, got {self.size}")
        if self.spread < 0:
            raise UsageError(f"spread must not be negative, got {self.spread}")
        for name in self.learn:
            if name not in self.given:
                raise UsageError(f"learn: no constant {name!r}; choose among {', '.join(self.given)}")
        for name, value in self.given.items():
            array = np.asarray(value)
            if array.shape not in ((), (self.size,)):
                raise UsageError(f"{name} must be a number or have shape ({self.size},), got {array.shape}")
            highest = math.nextafter(1, 0) if name in self.learn else 1.0
            if name.endswith("decay") and not np.all((array > 0) & (array <= highest)):
                bound = "(0, 1)" if name in self.learn else "(0, 1]"
                raise UsageError(f"{name} must be in {bound} (spiking.decay(tau, dt) gives it), got {value}")
            if not np.all(np.isfinite(array)):
                raise UsageError(f"{name} must be finite, got {value}")
            if name == "threshold" and not np.all(array > 0):
                raise UsageError(f"threshold must be positive, got {value}")

    def init(self, key: PRNGKey) -> Params:
        """The parameters of the learnt constants."""
        params: dict[str, Array] = {}
        for name, name_key in zip(self.learn, jax.random.split(key, max(1, len(self.learn))), strict=False):
            value = jnp.broadcast_to(jnp.asarray(self.given[name], self.dtype), (self.size,))
            if name.endswith("decay"):
                value = -jnp.log(-jnp.log(value)) + self.spread * jax.random.normal(name_key, (self.size,), self.dtype)
            params[name] = value
        return dict(sorted(params.items()))

    def read(self, params: Params, like: Float[Array, "*batch size"]) -> dict[str, Array]:
        """Every constant at its current value, in the type of `like` and with axes that broadcast against it."""
        if like.shape[-1] != self.size:
            raise UsageError(f"the current must have {self.size} features (last axis), got shape {like.shape}")
        axes = (1,) * (like.ndim - 1)
        values: dict[str, Array] = {}
        for name, value in self.given.items():
            if name in self.learn:
                array = params[name]
                array = jnp.exp(-jnp.exp(-array)) if name.endswith("decay") else array
            else:
                array = jnp.asarray(value, like.dtype)
            array = array.astype(like.dtype)
            values[name] = array.reshape(*axes, self.size) if array.ndim else array
        return values
