"""Sizes of a run, from shapes alone."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from chainlab.lab.task import Task
from chainlab.typing import Batch, State


def shapes(task: Task) -> tuple[State, Batch]:
    """The shapes of a task's state and of a batch, without device work."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    arrays = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), task.data.arrays)
    batch = jax.eval_shape(lambda a, k: task.data.gather(a, task.data.plan(k, jnp.int32(0))), arrays, key)
    return jax.eval_shape(task.init, key), batch


def memory_plan(task: Task, seeds: Sequence[int]) -> dict[str, int | float]:
    """Sizes of a run's state, data and batch from shapes alone, without device work.

    Args:
        task: The task.
        seeds: The seeds.

    Returns:
        `parameters` (count, where the task names its subjects), `state_mib`, `data_mib` and `batch_mib`.
    """

    def mib(tree: PyTree) -> float:
        return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) / 2**20

    state, batch = shapes(task)
    sizes = {
        "state_mib": mib(state) * len(seeds),
        "data_mib": mib(task.data.arrays),
        "batch_mib": mib(batch) * len(seeds),
    }
    return {"parameters": parameter_count(state), **sizes}


def parameter_count(state: PyTree) -> int:
    """Numbers in `state.params` where a state has that field, else in every floating leaf of the state."""
    tree = getattr(state, "params", state)
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(int(np.prod(leaf.shape)) for leaf in leaves)
