"""A pipeline over stacked layers: each device holds some of them, and micro-batches flow through."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree

from chainlab.errors import UsageError
from chainlab.parallel.ambient import axis_size

AXIS = "pipeline"

Layer = Callable[[Array, PyTree], Array]
"""`layer(x, inputs) -> y` of the shape of `x`; `inputs` is one entry of the stacked tree."""


def micro_batches(batch: int, stages: int, wanted: int | None = None) -> int:
    """How many parts a batch is cut into: a divisor of it, the largest up to four a stage.

    Four keep the share of time in which a stage waits, (S - 1) / (M + S - 1), below a fifth.

    Args:
        batch: Examples.
        stages: Stages of the pipeline.
        wanted: The number that a config asks for; a batch that it does not divide falls back to their common divisor.

    Returns:
        The number.

    Example:
        >>> micro_batches(32, 4), micro_batches(12, 4), micro_batches(32, 4, 2)
        (16, 12, 2)
    """
    if wanted is not None:
        return math.gcd(batch, wanted)
    return max(count for count in range(1, 4 * stages + 1) if batch % count == 0)


def split(x: PyTree, parts: int) -> PyTree:
    """Micro-batches `(parts, batch / parts, ...)`, every `parts`-th example in one.

    Strided parts keep each device's examples on it: a part takes as many from every device.
    """
    return jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf.reshape(leaf.shape[0] // parts, parts, *leaf.shape[1:]), 1, 0), x
    )


def join(x: Array) -> Array:
    """The batch of which `split` made the parts."""
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def run_stage(layer: Layer, inputs: PyTree, x: Array) -> Array:
    """The layers of one stage, one after another."""
    return jax.lax.scan(lambda h, one: (layer(h, one), None), x, inputs)[0]


def check_stages(inputs: PyTree, stages: int) -> None:
    """Raise a UsageError unless the stages divide the layers."""
    layers = jax.tree.leaves(inputs)[0].shape[0]
    if layers % stages:
        raise UsageError(f"a pipeline of {stages} stages does not divide {layers} stacked layers")


def pipeline(layer: Layer, inputs: PyTree, x: Array, *, parts: int | None = None) -> Array:
    r"""Stacked layers $h \leftarrow f(h, w_l)$ over the `pipeline` axis of the mesh in use, by GPipe's schedule.

    Stage $s$ works on micro-batch $t - s$ at tick $t$, of $M + S - 1$ ticks, and hands its result to the next stage.
    The backward pass is the transposed program: the same pipeline, run back. The result is that of
    `jax.lax.scan` over the layers.

    Args:
        layer: One layer.
        inputs: Parameters and whatever else each layer needs, stacked along a leading axis.
        x: The input (batch, ...).
        parts: Micro-batches $M$; by default as many as divide the batch, up to four a stage.

    Returns:
        The output of the last layer.

    Raises:
        UsageError: The stages do not divide the layers.

    References:
        Huang et al., GPipe, arXiv:1811.06965, section 2.3.
    """
    stages = axis_size(AXIS)
    if stages == 1:
        return run_stage(layer, inputs, x)
    check_stages(inputs, stages)
    many = micro_batches(x.shape[0], stages, parts)

    def local(inputs: PyTree, xs: Array) -> Array:
        stage = jax.lax.axis_index(AXIS)

        def tick(carry: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], None]:
            received, results = carry
            fresh = jax.lax.dynamic_index_in_dim(xs, jnp.clip(t, 0, many - 1), keepdims=False)
            y = run_stage(layer, inputs, jnp.where(stage == 0, fresh, received))
            done = t - (stages - 1)
            place = jnp.clip(done, 0, many - 1)
            written = jax.lax.dynamic_update_index_in_dim(results, y, place, 0)
            results = jnp.where(done >= 0, written, results)
            return (jax.lax.ppermute(y, AXIS, neighbours(stages)), results), None

        start = (jnp.zeros_like(xs[0]), jnp.zeros_like(xs))
        ticks = jnp.arange(many + stages - 1, dtype=jnp.int32)
        (_, results), _ = jax.lax.scan(tick, start, ticks)
        return jax.lax.psum(jnp.where(stage == stages - 1, results, jnp.zeros_like(results)), AXIS)

    run = jax.shard_map(
        local,
        in_specs=(PartitionSpec(AXIS), PartitionSpec()),
        out_specs=PartitionSpec(),
        axis_names={AXIS},
        check_vma=False,
    )
    return join(run(inputs, split(x, many)))


def neighbours(stages: int, step: int = 1) -> list[tuple[int, int]]:
    """Who sends to whom when everyone sends to the device `step` further."""
    return [(index, (index + step) % stages) for index in range(stages)]
