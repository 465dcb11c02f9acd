"""A pipeline that turns every micro-batch back as soon as it is through: loss and gradients in one schedule."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PyTree

from chainlab.parallel.ambient import axis_size
from chainlab.parallel.stages import (
    AXIS,
    Layer,
    check_stages,
    join,
    micro_batches,
    neighbours,
    pipeline,
    run_stage,
    split,
)

Last = Callable[[PyTree, Array, PyTree], Float[Array, ""]]
"""`last(params, y, targets) -> loss`, a mean over the examples."""


def one_forward_one_backward(
    layer: Layer, last: Last, inputs: PyTree, head: PyTree, x: Array, targets: PyTree, *, parts: int | None = None
) -> Float[Array, ""]:
    r"""The loss behind stacked layers over the `pipeline` axis of the mesh in use, $L = \frac1M \sum_m \ell(f(x_m))$.

    When it is differentiated, stage $s$ does forward micro-batch $t - s$ and backward micro-batch $t - 2(S-1) + s$ in
    the same tick, so that a micro-batch turns back in the tick in which it reaches the last stage. A stage keeps the
    inputs of at most $2S - 1$ micro-batches, however many there are, and recomputes its layers from them. The
    gradients come out of the forward pass as a custom derivative; `pipeline` keeps the residuals of all $M$.

    Args:
        layer: One layer.
        last: The head and the loss, a mean over examples.
        inputs: Parameters and whatever else each layer needs, stacked along a leading axis.
        head: Parameters of `last`.
        x: The input (batch, ...).
        targets: What the loss compares with (batch, ...).
        parts: Micro-batches $M$; by default as many as divide the batch, up to four a stage.

    Returns:
        The loss. Its derivatives by `inputs`, `head` and `x` are those of the unpipelined loss, of first order.

    Raises:
        UsageError: The stages do not divide the layers.

    References:
        Narayanan et al., PipeDream, arXiv:1806.03377, section 3.2 (one forward, one backward).
        Narayanan et al., Efficient Large-Scale Language Model Training, arXiv:2104.04473, section 2.2.1 (memory).
    """
    stages = axis_size(AXIS)
    many = micro_batches(x.shape[0], stages, parts)

    leaves, structure = jax.tree.flatten(inputs)
    real = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def whole(weights: list[Array], rest: list[Array]) -> PyTree:
        """The stacked inputs: those that have a derivative, and keys and counts that have none."""
        sources = {True: iter(weights), False: iter(rest)}
        return jax.tree.unflatten(structure, [next(sources[kind]) for kind in real])

    @jax.custom_vjp
    def loss(weights: list[Array], rest: list[Array], head: PyTree, x: Array, targets: PyTree) -> Float[Array, ""]:
        y = pipeline(layer, whole(weights, rest), x, parts=many)
        return last(head, y, targets)

    def forward(
        weights: list[Array], rest: list[Array], head: PyTree, x: Array, targets: PyTree
    ) -> tuple[Float[Array, ""], tuple[list[Array], PyTree, Array]]:
        def stage(weights: list[Array], rest: list[Array], x: Array) -> Array:
            return run_stage(layer, whole(weights, rest), x)

        run = jax.shard_map(
            lambda *arguments: _schedule(stage, last, *arguments, stages=stages),
            in_specs=(PartitionSpec(AXIS), PartitionSpec(AXIS), PartitionSpec(), PartitionSpec(), PartitionSpec()),
            out_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(), PartitionSpec()),
            axis_names={AXIS},
            check_vma=False,
        )
        value, by_weights, by_head, by_x = run(weights, rest, head, split(x, many), split(targets, many))
        return value, (by_weights, by_head, join(by_x))

    def backward(gradients: tuple[list[Array], PyTree, Array], cotangent: Float[Array, ""]) -> tuple[Any, ...]:
        by_weights, by_head, by_x = jax.tree.map(lambda leaf: leaf * cotangent.astype(leaf.dtype), gradients)
        return by_weights, None, by_head, by_x, None

    if stages == 1:
        return last(head, run_stage(layer, inputs, x), targets)
    check_stages(inputs, stages)
    loss.defvjp(forward, backward)
    weights = [leaf for leaf, kind in zip(leaves, real, strict=True) if kind]
    rest = [leaf for leaf, kind in zip(leaves, real, strict=True) if not kind]
    return loss(weights, rest, head, x, targets)


def _schedule(
    stage: Callable[[list[Array], list[Array], Array], Array],
    last: Last,
    weights: list[Array],
    rest: list[Array],
    head: PyTree,
    xs: Array,
    targets: PyTree,
    *,
    stages: int,
) -> tuple[Float[Array, ""], list[Array], PyTree, Array]:
    """One device's side: the mean loss, and its derivatives by the stage's weights, the head and the input."""
    many, slots = xs.shape[0], 2 * stages - 1
    index = jax.lax.axis_index(AXIS)
    is_last = index == stages - 1

    def at(tree: PyTree, place: Array) -> PyTree:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), tree)

    def after(t: Array, earlier: Array, value: Array) -> Array:
        """The value, once `earlier` is there.

        The CPU backend runs collectives that do not depend on one another side by side on few threads, each of which
        waits for the other devices: enough of them deadlock. No tick is negative, which the compiler does not know.
        """
        return jnp.where(t < 0, earlier, value)

    def add(total: PyTree, new: PyTree, valid: Array) -> PyTree:
        return jax.tree.map(lambda a, b: a + jnp.where(valid, b, jnp.zeros_like(b)), total, new)

    def tick(carry: dict[str, Any], t: Array) -> tuple[dict[str, Any], None]:
        ahead, back = t - index, t - 2 * (stages - 1) + index
        goes, returns = (ahead >= 0) & (ahead < many), (back >= 0) & (back < many)
        ahead, back = jnp.clip(ahead, 0, many - 1), jnp.clip(back, 0, many - 1)

        from_before = jax.lax.ppermute(carry["y"], AXIS, neighbours(stages))
        from_behind = jax.lax.ppermute(after(t, from_before, carry["by_x"]), AXIS, neighbours(stages, -1))
        x = after(t, from_behind, jnp.where(index == 0, at(xs, ahead), from_before))
        kept = jax.lax.dynamic_update_index_in_dim(carry["kept"], x, ahead % slots, 0)
        kept = jnp.where(goes, kept, carry["kept"])
        y = stage(weights, rest, x)
        value, pull_last = jax.vjp(lambda h, y: last(h, y, at(targets, ahead)) / many, head, y)
        by_head, by_y = pull_last(jnp.ones_like(value))

        # at the last stage the micro-batch that came in turns back at once
        turned = by_y + sum(jnp.ravel(leaf)[0].astype(y.dtype) for leaf in jax.tree.leaves(by_head))
        pull = jax.vjp(lambda w, x: stage(w, rest, x), weights, after(t, turned, at(kept, back % slots)))[1]
        by_weights, by_x = pull(jnp.where(is_last, by_y, from_behind))
        arrived = jax.lax.dynamic_update_index_in_dim(carry["by_xs"], by_x, back, 0)
        return {
            "y": y,
            "by_x": by_x,
            "kept": kept,
            "loss": add(carry["loss"], value, goes & is_last),
            "by_head": add(carry["by_head"], by_head, goes & is_last),
            "by_weights": add(carry["by_weights"], by_weights, returns),
            "by_xs": jnp.where(returns & (index == 0), arrived, carry["by_xs"]),
        }, None

    shape = jax.eval_shape(last, head, xs[0], at(targets, jnp.int32(0)))
    start = {
        "y": jnp.zeros_like(xs[0]),
        "by_x": jnp.zeros_like(xs[0]),
        "kept": jnp.zeros((slots, *xs.shape[1:]), xs.dtype),
        "loss": jnp.zeros((), shape.dtype),
        "by_head": jax.tree.map(jnp.zeros_like, head),
        "by_weights": jax.tree.map(jnp.zeros_like, weights),
        "by_xs": jnp.zeros_like(xs),
    }
    end, _ = jax.lax.scan(tick, start, jnp.arange(many + 2 * (stages - 1), dtype=jnp.int32))
    loss, by_head, by_x = jax.lax.psum((end["loss"], end["by_head"], end["by_xs"]), AXIS)
    return loss, end["by_weights"], by_head, by_x
