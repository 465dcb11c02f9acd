"""An objective over a whole evaluation set, a part at a time."""

from typing import Any

import jax
import jax.numpy as jnp

from chainlab.errors import UsageError
from chainlab.spiking.objective import Objective
from chainlab.typing import Batch, Metrics, Params


def over_parts(objective: Objective, params: Params, split: Batch, size: int) -> tuple[Any, Metrics]:
    """Mean loss and metrics over a set, in parts so that memory is that of one.

    Args:
        objective: The objective, a mean over examples.
        params: Its parameters.
        split: The set; its leaves share their first axis, the examples.
        size: Examples in a part.

    Returns:
        What the objective would give for the set as one batch, where its loss is a mean over examples.

    Raises:
        UsageError: `size` is less than 1 or the set is empty.
    """
    total = jax.tree.leaves(split)[0].shape[0]
    if size < 1 or total < 1:
        raise UsageError(f"over_parts needs size >= 1 and at least one example, got {size} and {total}")
    size = min(size, total)
    whole = total // size
    key = jax.random.key(0)

    def part(batch: Batch) -> tuple[Any, Metrics]:
        return objective(params, batch, key)

    stacked = jax.tree.map(lambda x: jnp.asarray(x)[: whole * size].reshape(whole, size, *x.shape[1:]), split)
    result = jax.tree.map(lambda x: jnp.sum(x, axis=0) * size, jax.lax.map(part, stacked))
    if total > whole * size:
        rest = part(jax.tree.map(lambda x: jnp.asarray(x)[whole * size :], split))
        result = jax.tree.map(lambda a, b: a + b * (total - whole * size), result, rest)
    return jax.tree.map(lambda x: x / total, result)
