"""Four ways to run the same work for every client of a cohort, with equal results.

Work is `work(inputs, slot) -> (summed, row)`: what is added up over clients, and what is kept of each.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from chainlab.errors import UsageError

Work = Callable[[PyTree, Int[Array, ""]], tuple[PyTree, PyTree]]
Interpreter = Callable[[Work, PyTree, Int[Array, " cohort"], Bool[Array, " cohort"]], tuple[PyTree, PyTree]]
"""`(work, inputs, steps, active) -> (sums, rows)`: `steps` is each slot's work, rows of inactive slots are zero."""


def _zeros(shapes: tuple[PyTree, PyTree], cohort: int) -> tuple[PyTree, PyTree]:
    """Empty sums and rows of a work's results."""
    totals = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[0])
    return totals, jax.tree.map(lambda s: jnp.zeros((cohort, *s.shape), s.dtype), shapes[1])


def _only(active: Bool[Array, " slots"], tree: PyTree) -> PyTree:
    """Rows of inactive slots become zero."""

    def keep(leaf: Array) -> Array:
        return jnp.where(active.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.zeros((), leaf.dtype))

    return jax.tree.map(keep, tree)


def ragged(
    work: Work, inputs: PyTree, steps: Int[Array, " cohort"], active: Bool[Array, " cohort"]
) -> tuple[PyTree, PyTree]:
    r"""One active client after the other, each for as long as its own data lasts: $\sum_k \mathrm{work}(k)$.

    No client is padded to the longest and no inactive one is touched. On a CPU this keeps every product a product of
    two matrices, where vmapped clients have weights of their own and become batched products.

    Args:
        work: What is done for a client.
        inputs: What it reads.
        steps: Steps of each slot; not needed here.
        active: Slots to work on.

    Returns:
        The sums, and one row a slot.

    Example:
        >>> work = lambda x, slot: (x[slot], 2 * x[slot])
        >>> ragged(work, jnp.array([1, 2, 4]), jnp.ones(3, int), jnp.array([True, False, True]))
        (Array(5, dtype=int32), Array([2, 0, 8], dtype=int32))
    """
    del steps
    order = jnp.argsort(~active, stable=True)
    shapes = jax.eval_shape(work, inputs, order[0])

    def body(index: Any, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        slot = order[index]
        summed, row = work(inputs, slot)
        totals = jax.tree.map(jnp.add, carry[0], summed)
        return totals, jax.tree.map(lambda rows, value: rows.at[slot].set(value), carry[1], row)

    return jax.lax.fori_loop(0, jnp.sum(active, dtype=jnp.int32), body, _zeros(shapes, active.size))


def grouped(size: int) -> Interpreter:
    """Clients of like length side by side, group after group, the longest first.

    A middle way for a CPU and a model so small that a step is mostly the overhead of its operations: a group shares
    it, and since its clients are neighbours in order of length few steps are wasted on waiting for its longest.

    Args:
        size: Clients in a group.

    Returns:
        An interpreter.

    Raises:
        UsageError: The size is less than 1.
    """
    if size < 1:
        raise UsageError(f"grouped: wanted a size >= 1, got {size}")

    def interpret(
        work: Work, inputs: PyTree, steps: Int[Array, " cohort"], active: Bool[Array, " cohort"]
    ) -> tuple[PyTree, PyTree]:
        count = -(-active.size // size) * size
        order = jnp.argsort(jnp.where(active, -steps, 1), stable=True)
        order = jnp.concatenate([order, jnp.full(count - active.size, active.size, order.dtype)])
        present = jnp.arange(count) < jnp.sum(active)
        shapes = jax.eval_shape(work, inputs, order[0])

        def body(index: Any, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            slots = jax.lax.dynamic_slice_in_dim(order, index * size, size)
            here = jax.lax.dynamic_slice_in_dim(present, index * size, size)
            summed, rows = _only(here, jax.vmap(work, (None, 0))(inputs, slots))
            totals = jax.tree.map(lambda total, leaf: total + jnp.sum(leaf, axis=0), carry[0], summed)
            return totals, jax.tree.map(lambda all_, leaf: all_.at[slots].set(leaf, mode="drop"), carry[1], rows)

        groups = (jnp.sum(active, dtype=jnp.int32) + size - 1) // size
        return jax.lax.fori_loop(0, groups, body, _zeros(shapes, active.size))

    return interpret


def vmapped(
    work: Work, inputs: PyTree, steps: Int[Array, " cohort"], active: Bool[Array, " cohort"]
) -> tuple[PyTree, PyTree]:
    """All clients at once, each for as many steps as the longest: for accelerators, and clients alike in size.

    Args:
        work: What is done for a client.
        inputs: What it reads.
        steps: Steps of each slot; not needed here.
        active: Slots to work on.

    Returns:
        The sums, and one row a slot.
    """
    del steps

    slots = jnp.arange(active.size, dtype=jnp.int32)
    summed, rows = _only(active, jax.vmap(work, (None, 0))(inputs, slots))
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), summed), rows


def pack(steps: Int[Array, " cohort"], lanes: int) -> Int[Array, " cohort"]:
    r"""Greedy bin packing: the longest client goes to the lane with the least work, and so on down.

    The longest lane is at most $\frac{4}{3} - \frac{1}{3m}$ of the shortest that is possible on $m$ lanes.

    Args:
        steps: Work of each client.
        lanes: Number of lanes.

    Returns:
        The lane of each client.

    Example:
        >>> pack(jnp.array([3, 5, 2, 4]), 2).tolist()
        [1, 0, 0, 1]

    References:
        Graham, Bounds on Multiprocessing Timing Anomalies, SIAM J. Appl. Math. 17 (1969), theorem 2.
    """

    def place(load: Array, work: Array) -> tuple[Array, Array]:
        lane = jnp.argmin(load)
        return load.at[lane].add(work), lane.astype(jnp.int32)

    order = jnp.argsort(-steps, stable=True)
    _, lane = jax.lax.scan(place, jnp.zeros(lanes, steps.dtype), steps[order])
    return jnp.zeros(steps.shape, jnp.int32).at[order].set(lane)


def sharded(devices: int | None = None) -> Interpreter:
    r"""One ragged lane a device, and one sum over devices at the end: $\sum_d \sum_{k \in d} \mathrm{work}(k)$.

    Args:
        devices: Number of devices; None takes all.

    Returns:
        An interpreter.

    Raises:
        UsageError: There are not that many devices.
    """
    found = jax.devices()
    count = len(found) if devices is None else devices
    if not 1 <= count <= len(found):
        raise UsageError(f"sharded: wanted 1..{len(found)} devices (those that JAX sees), got {count}")
    mesh = jax.sharding.Mesh(np.asarray(found[:count]), ("lanes",), axis_types=(AxisType.Auto,))

    def interpret(
        work: Work, inputs: PyTree, steps: Int[Array, " cohort"], active: Bool[Array, " cohort"]
    ) -> tuple[PyTree, PyTree]:
        lane = pack(jnp.where(active, steps, 0), count)

        def device(inputs: PyTree, lane: Array, steps: Array, active: Array) -> tuple[PyTree, PyTree]:
            mine = active & (lane == jax.lax.axis_index("lanes"))
            return jax.lax.psum(ragged(work, inputs, steps, mine), "lanes")

        # Replication is not tracked: gradients inside a lane are the lane's own and must not be summed over lanes.
        run = jax.shard_map(device, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)
        return run(inputs, lane, steps, active)

    return interpret
