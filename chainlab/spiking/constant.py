"""A constant input as a type, so that what depends on it alone is computed once and not at every step."""

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

    A stateless layer maps it to another `Constant` with one product instead of one a step, and its weight
    gradient is one product with the adjoint summed over time.

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


Sequence: TypeAlias = Float[Array, "..."] | Constant
"""What a network reads: an array with the time axis first, or a constant."""


def length(xs: Sequence) -> int:
    """Number of time steps of a sequence.

    Args:
        xs: An array with the time axis first, or a `Constant`.

    Returns:
        The number of steps.

    Raises:
        UsageError: There is no step or no time axis.
    """
    if not isinstance(xs, Constant) and jnp.ndim(xs) < 2:
        raise UsageError(f"inputs must have shape (time, *batch, features), got {jnp.shape(xs)}")
    steps = xs.steps if isinstance(xs, Constant) else xs.shape[0]
    if steps < 1:
        raise UsageError(f"time: a sequence needs at least one step, got {steps}")
    return steps


def first(xs: Sequence) -> Float[Array, "*batch dim"]:
    """The input of the first step.

    Args:
        xs: A sequence of at least one step.

    Returns:
        The input without the time axis.
    """
    length(xs)
    return xs.value if isinstance(xs, Constant) else xs[0]
