"""Schedules of a penalty's weight."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.errors import UsageError


def geometric_cosine(start: float, end: float, steps: int) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
    r"""From `start` to `end` along a cosine in the logarithm, $\log w = \log e + \tfrac12 (1 + \cos \pi t) \log (s/e)$.

    Args:
        start: Weight at step 0.
        end: Weight from step `steps` on.
        steps: Length of the schedule.

    Returns:
        The schedule.

    Raises:
        UsageError: A weight is not positive or `steps` is less than 1.

    Example:
        >>> import jax.numpy as jnp
        >>> weight = geometric_cosine(1.0, 0.01, 100)
        >>> [round(float(weight(jnp.array(step))), 4) for step in (0, 50, 100, 200)]
        [1.0, 0.1, 0.01, 0.01]
    """
    if not (start > 0 and end > 0 and steps >= 1):
        raise UsageError(f"a geometric schedule needs weights > 0 and steps >= 1, got {start}, {end} and {steps}")

    def weight(step: Int[Array, ""]) -> Float[Array, ""]:
        t = jnp.minimum(step.astype(jnp.float32) / steps, 1.0)
        return end * (start / end) ** (0.5 * (1 + jnp.cos(jnp.pi * t)))

    return weight
