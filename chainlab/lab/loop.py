"""The compiled part of a run: many steps to a dispatch, one seed or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int, PyTree

from chainlab.lab.task import Task
from chainlab.typing import Metrics, State


@struct.dataclass
class Replica:
    """What one seed carries from step to step, beside the step number itself.

    Attributes:
        state: The task's state.
        order: Key of the data order.
        noise: Key of the steps' randomness.
    """

    state: State
    order: PyTree
    noise: PyTree


@dataclass(frozen=True)
class Loop:
    """The jitted functions of a run.

    Attributes:
        start: `() -> replica`.
        steps: `(replica, first, count, arrays) -> (replica, metrics)`: runs `count <= capacity` steps from step
            number `first`; the replica is donated; metrics have a leading axis of `capacity`, of which `count`
            are filled.
        evaluate: `(replica, split) -> metrics`.
        capacity: Most steps of one dispatch.
        seeds: The seeds; with several, every replica and metric has a leading axis of seeds.
    """

    start: Callable[[], Replica]
    steps: Callable[[Replica, int, int, PyTree], tuple[Replica, Metrics]]
    evaluate: Callable[[Replica, PyTree], Metrics]
    capacity: int
    seeds: tuple[int, ...]


def replica(task: Task, seed: int | Int[Array, ""]) -> Replica:
    """The state and keys that a seed starts with."""
    init, order, noise = jax.random.split(jax.random.key(seed), 3)
    return Replica(state=task.init(init), order=order, noise=noise)


def run_steps(
    task: Task, capacity: int, current: Replica, first: Int[Array, ""], count: Int[Array, ""], arrays: PyTree
) -> tuple[Replica, Metrics]:
    """Run `count <= capacity` steps from step number `first`, as one loop.

    The loop's bound is an argument, so that one compiled program serves blocks of every length.
    """
    positions = first + jnp.arange(capacity, dtype=jnp.int32)
    plans = jax.vmap(task.data.plan, (None, 0))(current.order, positions)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(current.noise, positions)

    def at(tree: PyTree, index: Int[Array, ""]) -> PyTree:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree)

    def advance(state: State, index: Int[Array, ""]) -> tuple[State, Metrics]:
        return task.step(state, task.data.gather(arrays, at(plans, index)), keys[index])

    shapes = jax.eval_shape(lambda: advance(current.state, first))[1]
    empty = jax.tree.map(lambda shape: jnp.zeros((capacity, *shape.shape), shape.dtype), shapes)

    def body(index: Int[Array, ""], carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
        state, buffers = carry
        state, metrics = advance(state, index)
        write = lambda buffer, value: jax.lax.dynamic_update_index_in_dim(buffer, value, index, 0)  # noqa: E731
        return state, jax.tree.map(write, buffers, dict(metrics))

    state, metrics = jax.lax.fori_loop(0, count, body, (current.state, dict(empty)))
    return Replica(state=state, order=current.order, noise=current.noise), metrics


def build(task: Task, seeds: Sequence[int], capacity: int) -> Loop:
    """Compile-ready functions that run a task for one seed, or for several as one vmapped program.

    Args:
        task: The task.
        seeds: The seeds.
        capacity: Most steps of one dispatch.

    Returns:
        The loop. Nothing is traced before its functions are called.
    """

    def start(seed: Any) -> Replica:
        return replica(task, seed)

    def steps(current: Replica, first: Any, count: Any, arrays: PyTree) -> tuple[Replica, Metrics]:
        return run_steps(task, capacity, current, first, count, arrays)

    def evaluate(current: Replica, split: PyTree) -> Metrics:
        return task.evaluate(current.state, split)

    if len(seeds) == 1:
        initial: Any = seeds[0]
    else:
        initial = np.asarray(seeds)
        start = jax.vmap(start)
        steps = jax.vmap(steps, (0, None, None, None))
        evaluate = jax.vmap(evaluate, (0, None))
    compiled_steps = jax.jit(steps, donate_argnums=0)
    return Loop(
        start=lambda: jax.jit(start)(initial),
        steps=lambda current, first, count, arrays: compiled_steps(current, np.int32(first), np.int32(count), arrays),
        evaluate=jax.jit(evaluate),
        capacity=capacity,
        seeds=tuple(seeds),
    )
