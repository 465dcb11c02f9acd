"""What a network reads: an array over time, or a type that says which steps are alike.

What is the same at many steps is then computed once: a layer without state maps a `Constant` by one product
instead of one a step, and a `Silent` sequence by as many products as it has inputs.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError


@partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["steps"])
@dataclass(frozen=True)
class Constant:
    """The same input at each of `steps` time steps.

    Attributes:
        value: The input of every step, without a time axis.
        steps: Number of time steps.

    Example:
        >>> import jax.numpy as jnp
        >>> Constant(jnp.ones((3, 2)), 5).expand().shape
        (5, 3, 2)
    """

    value: Any  # an array; while JAX maps over the tree, anything
    steps: int = field(metadata={"static": True})

    def expand(self) -> Float[Array, "time *batch dim"]:
        """The sequence that this stands for, as an array."""
        return jnp.broadcast_to(self.value, (self.steps, *self.value.shape))

    def part(self, steps: int) -> "Constant":
        """The same input for another number of steps."""
        return Constant(self.value, steps)


@partial(jax.tree_util.register_dataclass, data_fields=["values", "silence"], meta_fields=["steps", "at"])
@dataclass(frozen=True)
class Silent:
    """Inputs at a few steps, and at all others one that does not change (zero, or what a layer makes of it).

    Latency codes are of this kind: pixels fire at the times of their levels, but the network runs at every step.

    Attributes:
        values: The inputs at the steps `at`, time first.
        silence: The input of every other step, without a time axis.
        steps: Number of time steps in all.
        at: Those steps, rising.

    Example:
        >>> import jax.numpy as jnp
        >>> Silent(jnp.ones((2, 3)), jnp.zeros(3), 5, at=(1, 3)).expand()[:, 0].tolist()
        [0.0, 1.0, 0.0, 1.0, 0.0]
    """

    values: Any
    silence: Any
    steps: int = field(metadata={"static": True})
    at: tuple[int, ...] = field(metadata={"static": True})

    def expand(self) -> Float[Array, "time *batch dim"]:
        """The sequence that this stands for, as an array."""
        where = dict(zip(self.at, range(len(self.at)), strict=True))
        index = jnp.array([where.get(step, len(self.at)) for step in range(self.steps)], jnp.int32)
        return jnp.concatenate([self.values, self.silence[None]])[index]


Stepwise: TypeAlias = Float[Array, "..."] | Constant
"""What a time loop takes: an array with the time axis first, or a `Constant`."""

Sequence: TypeAlias = Stepwise | Silent
"""Inputs over time: an array with the time axis first, a `Constant`, or a `Silent` sequence."""


def length(xs: Sequence) -> int:
    """Number of time steps of a sequence.

    Args:
        xs: A sequence.

    Returns:
        The number of steps.

    Raises:
        UsageError: There is no step or no time axis.
    """
    if not isinstance(xs, Constant | Silent) and jnp.ndim(xs) < 2:
        raise UsageError(f"inputs must have shape (time, *batch, features), got {jnp.shape(xs)}")
    steps = xs.steps if isinstance(xs, Constant | Silent) else xs.shape[0]
    if steps < 1:
        raise UsageError(f"time: a sequence needs at least one step, got {steps}")
    if isinstance(xs, Silent):
        rising = all(a < b for a, b in zip((-1, *xs.at), (*xs.at, steps), strict=True))
        if not rising or len(xs.at) != xs.values.shape[0]:
            raise UsageError(f"at: wanted {xs.values.shape[0]} rising steps below {steps}, got {xs.at}")
    return steps


def first(xs: Sequence) -> Float[Array, "*batch dim"]:
    """The input of the first step.

    Args:
        xs: A sequence of at least one step.

    Returns:
        The input without the time axis.
    """
    length(xs)
    if isinstance(xs, Constant):
        return xs.value
    if isinstance(xs, Silent):
        return xs.values[0] if xs.at[:1] == (0,) else xs.silence
    return xs[0]


def stepwise(xs: Sequence) -> Stepwise:
    """A sequence as what a time loop takes: an array or a `Constant`.

    Args:
        xs: A sequence.

    Returns:
        The same sequence.
    """
    return xs.expand() if isinstance(xs, Silent) else xs
