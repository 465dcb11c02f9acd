"""Bytes that a device sends in one training step, by mesh axis."""

import math
from typing import Any

import jax
from jaxtyping import PyTree

from chainlab.parallel.layout import Layout
from chainlab.parallel.sharding import STACK, names, row_parallel
from chainlab.parallel.stages import micro_batches


def step_traffic(layout: Layout, params: PyTree, batch: PyTree, *, active_experts: int = 1) -> dict[str, float]:
    r"""Bytes that one device sends in a training step, by the axis over which it sends them.

    A ring all-reduce of $b$ bytes over $n$ devices sends $2 \frac{n-1}{n} b$, an all-gather or a reduce-scatter half of
    it. `data` reduces the gradients; `fsdp` gathers the parameters (those of stacked layers twice: once more for their
    gradients) and reduces the gradients; `tensor` sums
    each row-parallel layer's output forward and its partner's input backward; `sequence` sends keys and values around
    the ring forward, for the recomputation, and with their derivatives backward; `expert` sends tokens there and back,
    forward and backward; `pipeline` hands on activations and their derivatives. Activations count 4 bytes a number.

    Args:
        layout: The arrangement.
        params: Shapes of the parameters.
        batch: Shapes of a batch.
        active_experts: Experts that see each token.

    Returns:
        Bytes by axis; only axes of more than one device.
    """
    sizes = layout.sizes
    share = {axis: (size - 1) / size for axis, size in layout.config.sizes.items() if size > 1}
    first: Any = jax.tree.leaves(batch)[0]
    parts = math.prod(layout.config.sizes[axis] for axis in layout.batch_axes)
    tokens = first.shape[0] / parts * (first.shape[1] / sizes["sequence"] if layout.sequence else 1)
    if not layout.sequence and len(first.shape) == 2 and jax.numpy.issubdtype(first.dtype, jax.numpy.integer):
        tokens *= first.shape[1]

    places = jax.tree.leaves(layout.state(params))
    leaves = [
        (names(path), leaf, place)
        for (path, leaf), place in zip(jax.tree_util.tree_leaves_with_path(params), places, strict=True)
    ]
    totals: dict[str, float] = dict.fromkeys(share, 0.0)
    held = 0.0
    for path, leaf, place in leaves:
        own = math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        held += own
        if "fsdp" in totals and "fsdp" not in layout.idle:
            if "fsdp" in place.spec:
                times = 3 if STACK in path else 2
                totals["fsdp"] += times * share["fsdp"] * own * sizes["fsdp"]
            else:
                totals["fsdp"] += 2 * share["fsdp"] * own
        layers = place.shard_shape(leaf.shape)[0] if STACK in path and leaf.shape else 1
        if "tensor" in place.spec and row_parallel(path) and len(leaf.shape) >= 2:
            totals["tensor"] += layers * 2 * 2 * share["tensor"] * tokens * leaf.shape[-1] * 4
        if layout.sequence and len(path) > 1 and path[-2] in ("key", "value") and path[-1] == "weight":
            totals["sequence"] += layers * 4 * (sizes["sequence"] - 1) * tokens * leaf.shape[-1] * 4
        if "expert" in place.spec and "up" in path:
            totals["expert"] += layers * 4 * share["expert"] * tokens * active_experts * leaf.shape[-2] * 4
    for axis in layout.batch_axes:
        if axis != "fsdp":  # gradients are summed over every axis that divides the batch
            totals[axis] += 2 * share[axis] * held
    if "pipeline" in share and "pipeline" not in layout.idle:
        width = _width(leaves)
        stages = sizes["pipeline"]
        many = micro_batches(first.shape[0], stages, layout.config.micro_batches)
        totals["pipeline"] += 2 * (many + stages - 1) / many * tokens * width * 4
    return totals


def _width(leaves: list[tuple[tuple[str, ...], Any, Any]]) -> int:
    """Features of the residual stream: what a row-parallel layer under the stack gives out."""
    return next((leaf.shape[-1] for path, leaf, _ in leaves if STACK in path and row_parallel(path)), 0)
