"""A task on a mesh: the same pure functions, with the places of their arrays."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainlab.lab.memory import shapes
from chainlab.lab.task import Task
from chainlab.parallel.config import MeshConfig
from chainlab.parallel.layout import Layout, arrange
from chainlab.typing import Batch, Metrics, PRNGKey, State


def lay_out(task: Task, config: MeshConfig, devices: Any = None, *, abstract: bool = False) -> Layout:
    """Arrange a task on a mesh.

    Args:
        task: The task.
        config: Devices along each axis.
        devices: The devices; JAX's own by default.
        abstract: On no devices, for planning.

    Returns:
        The layout.

    Raises:
        UsageError: There are too few devices, or the mesh does not divide the task.
    """
    return arrange(config, *shapes(task), devices, abstract=abstract)


def shard(task: Task, layout: Layout) -> Task:
    """The task with its state and batches divided over a mesh; it computes the same function.

    Args:
        task: The task.
        layout: Where its arrays lie.

    Returns:
        The task. Trace its functions inside `layout.use()`.
    """
    place = jax.lax.with_sharding_constraint

    def init(key: PRNGKey) -> State:
        state = task.init(key)
        return place(state, layout.state(state))

    def step(state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        state, metrics = task.step(state, place(batch, layout.batch(batch)), key)
        return place(state, layout.state(state)), place(dict(metrics), layout.whole)

    def evaluate(state: State, split: Batch) -> Metrics:
        return place(dict(task.evaluate(state, split)), layout.whole)

    return replace(task, init=init, step=step, evaluate=evaluate)


def gather(state: State, layout: Layout) -> State:
    """A state as ordinary arrays that this process has whole; every process calls it."""
    whole = jax.jit(lambda tree: tree, out_shardings=layout.whole)(state)

    def local(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jnp.asarray(np.asarray(jax.random.key_data(leaf)))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jnp.asarray(np.asarray(leaf))

    return jax.tree.map(local, whole)
