"""The leaky membrane with threshold and reset, shared by the integrate-and-fire family."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
from jaxtyping import Array, Float

from chainlab.errors import UsageError

Constants: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Membrane:
    r"""How a membrane leaks, fires and resets; $v_t$ is the potential just before its own reset.

    With $z_t = H(v_t - \vartheta)$ the spike and $\beta$ the decay:

    | reset | timing | $v_{t+1}$ |
    |---|---|---|
    | `subtract` | `delayed` | $\beta v_t + I_{t+1} - z_t \vartheta$ |
    | `subtract` | `immediate` | $\beta (v_t - z_t \vartheta) + I_{t+1}$ |
    | `zero` | `delayed`, `immediate` | $\beta (1 - z_t) v_t + I_{t+1}$ |
    | `none` | any | $\beta v_t + I_{t+1}$ |

    `carried` is `immediate`, but a potential that its reset leaves above the threshold is reset once more at
    the start of the next step, where it then cannot be reset again (snnTorch's `reset_delay=False`); its
    state is the potential after the reset.

    Attributes:
        reset: What a spike does to the potential.
        timing: When it does it.
        detach: Whether the reset is a constant to the derivative.
        surrogate: The spike as a function of the distance to the threshold.
    """

    reset: str
    timing: str
    detach: bool
    surrogate: Callable[[Array], Array]

    def __post_init__(self) -> None:
        """Refuse unknown modes."""
        if self.reset not in ("subtract", "zero", "none"):
            raise UsageError(f"reset must be subtract, zero or none, got {self.reset!r}")
        if self.timing not in ("delayed", "immediate", "carried"):
            raise UsageError(f"timing must be delayed, immediate or carried, got {self.timing!r}")

    def fire(self, constants: Constants, v: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The spike at a potential."""
        return self.surrogate(v - constants["threshold"])

    def advance(self, constants: Constants, v: Float[Array, "*n"], current: Array) -> Float[Array, "*n"]:
        """The potential of the next step, for `delayed` and `immediate` timing."""
        beta, threshold = constants["decay"], constants["threshold"]
        if self.reset == "none":
            return beta * v + current
        spike = self.fire(constants, v)
        if self.detach:
            spike = jax.lax.stop_gradient(spike)
        if self.reset == "zero":
            return beta * ((1 - spike) * v) + current
        if self.timing == "delayed":
            return beta * v + current - spike * threshold
        return beta * (v - spike * threshold) + current

    def step(
        self, constants: Constants, v: Float[Array, "*n"], current: Float[Array, "*n"]
    ) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
        """The state of the next step and its spike, for every timing."""
        if self.timing != "carried" or self.reset == "none":
            v = self.advance(constants, v, current)
            return v, self.fire(constants, v)
        beta, threshold = constants["decay"], constants["threshold"]
        left = jax.lax.stop_gradient(self.fire(constants, v))
        subtract = self.reset == "subtract"
        v = beta * v + current - left * threshold if subtract else beta * ((1 - left) * v) + current
        spike = self.fire(constants, v)
        now = (jax.lax.stop_gradient(spike) if self.detach else spike) - left
        return v - now * (threshold if subtract else v), spike
