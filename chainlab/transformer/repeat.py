"""Depth: blocks whose parameters are stacked, scanned or unrolled."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from chainlab.errors import UsageError
from chainlab.parallel import axis_size, keep_all_but_gathered, pipeline, schedule, unshard
from chainlab.transformer.block import Block
from chainlab.transformer.feed_forward import Auxiliary
from chainlab.typing import Params, PRNGKey


def unstack(tree: PyTree) -> list[PyTree]:
    """Cut the leading axis of every leaf into a list of trees.

    `lax.split` has a concatenation as its derivative, where indexing would have a sum of padded slices.

    Args:
        tree: A pytree whose leaves share their leading axis.

    Returns:
        One tree an entry of that axis.
    """
    leaves, treedef = jax.tree.flatten(tree)
    count = leaves[0].shape[0]
    parts = [[part.reshape(leaf.shape[1:]) for part in jax.lax.split(leaf, [1] * count)] for leaf in leaves]
    return [jax.tree.unflatten(treedef, [part[i] for part in parts]) for i in range(count)]


def _period(
    blocks: Mapping[str, Block], count: int, *, remat: str, unrolled: bool, position: Any, drop: float
) -> Callable[[Array, Any], tuple[Array, Any]]:
    """One period of blocks: `period(x, (weights, caches, key, index)) -> (x, (caches, auxiliary))`."""
    total = count * len(blocks)

    def period(x: Array, inputs: Any) -> tuple[Array, Any]:
        weights, caches, k, index = inputs
        weights = unshard(weights)
        new: dict[str, Any] = {}
        auxiliary: dict[str, Any] = {}
        for i, (name, b) in enumerate(blocks.items()):
            rate = drop * (index * len(blocks) + i).astype(jnp.float32) / max(total - 1, 1)
            x, new[name], auxiliary[name] = b.apply(
                weights[name],
                x,
                cache=None if caches is None else caches[name],
                position=position,
                key=None if k is None else jax.random.fold_in(k, i),
                drop=rate,
            )
        return x, (new, auxiliary)

    if remat == "none" and axis_size("fsdp") == 1:
        return period
    policies = {
        "none": keep_all_but_gathered,
        "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        "full": jax.checkpoint_policies.nothing_saveable,
    }
    return jax.checkpoint(period, policy=policies[remat], prevent_cse=unrolled)


def stacked_layers(
    blocks: Mapping[str, Block], params: Params, *, remat: str, key: PRNGKey | None, drop: float
) -> tuple[Callable[[Array, Any], Array], Any]:
    """The repetitions as a pipeline takes them: one layer, and the stacked inputs of all.

    Args:
        blocks: The blocks of one period by name, in order.
        params: Their parameters by name, stacked over the repetitions.
        remat: What the backward pass recomputes.
        key: Randomness in training, or None.
        drop: Stochastic depth of the last block.

    Returns:
        `layer(x, inputs) -> x`, and the inputs.

    Raises:
        UsageError: When it is called, if a block has auxiliary values: those of micro-batches are not the batch's.
    """
    count = jax.tree.leaves(params)[0].shape[0]
    period = _period(blocks, count, remat=remat, unrolled=False, position=0, drop=drop)

    def layer(x: Array, inputs: Any) -> Array:
        weights, k, index = inputs
        x, (_, auxiliary) = period(x, (weights, None, k, index))
        if any(auxiliary.values()):
            raise UsageError("a mixture of experts cannot be cut into a pipeline's micro-batches: use mesh.expert")
        return x

    keys = None if key is None else jax.random.split(key, count)
    return layer, (params, keys, jnp.arange(count, dtype=jnp.int32))


def repeat(
    blocks: Mapping[str, Block],
    params: Params,
    x: Array,
    *,
    execution: str,
    remat: str,
    cache: Any,
    position: Any,
    key: PRNGKey | None,
    drop: float,
) -> tuple[Array, Any, Auxiliary]:
    """Apply a period of blocks again and again.

    Args:
        blocks: The blocks of one period by name, in order.
        params: Their parameters by name, stacked over the repetitions.
        x: The residual stream `(batch, seq, dim)`.
        execution: `scan` (compile time does not grow with depth) or `unrolled`.
        remat: `none`, `dots` or `full`: what the backward pass recomputes.
        cache: Caches by name, stacked like the parameters, or None.
        position: Position of the first token.
        key: Randomness in training, or None.
        drop: Stochastic depth of the last block.

    Returns:
        The residual stream, the new caches, and the auxiliary values (losses averaged over the layers, the
        rest with the repetitions as leading axis).
    """
    count = jax.tree.leaves(params)[0].shape[0]
    period = _period(blocks, count, remat=remat, unrolled=execution == "unrolled", position=position, drop=drop)

    if cache is None and axis_size("pipeline") > 1 and count % axis_size("pipeline") == 0:
        layer, inputs = stacked_layers(blocks, params, remat=remat, key=key, drop=drop)
        return pipeline(layer, inputs, x, parts=schedule()[1]), None, {}

    keys = None if key is None else jax.random.split(key, count)
    inputs = (params, cache, keys, jnp.arange(count, dtype=jnp.int32))
    if execution == "scan":
        x, (new, auxiliary) = jax.lax.scan(period, x, inputs)
    else:
        outputs = []
        pieces = unstack(inputs[0]), [None] * count if cache is None else unstack(cache)
        for index in range(count):
            k = None if keys is None else keys[index]
            x, output = period(x, (pieces[0][index], pieces[1][index], k, inputs[3][index]))
            outputs.append(output)
        new, auxiliary = jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)
    return x, None if cache is None else new, _merge(auxiliary)


def _merge(auxiliary: Mapping[str, Auxiliary]) -> Auxiliary:
    """One dict over the blocks of a period: scalars averaged, vectors as `(layers, ...)`."""
    merged: Auxiliary = {}
    for name in next(iter(auxiliary.values())):
        values = jnp.stack([block[name] for block in auxiliary.values()], axis=1)
        merged[name] = jnp.mean(values) if values.ndim == 2 else values.reshape(-1, *values.shape[2:])
    return merged
