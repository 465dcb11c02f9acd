"""Attention over sequences that are divided over devices: keys and values go around a ring."""

import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.parallel.ambient import axis_size
from chainlab.parallel.stages import neighbours

AXIS = "sequence"
_MASKED = -1e30  # finite: no subtraction gives NaN, and its exponential is exactly zero


def ring_attention(
    query: Float[Array, "batch seq heads dim"],
    key: Float[Array, "batch seq kv_heads dim"],
    value: Float[Array, "batch seq kv_heads dim"],
    *,
    window: int | None = None,
    scale: float | None = None,
) -> Float[Array, "batch seq heads dim"]:
    r"""Causal softmax attention over the `sequence` axis of the mesh in use, $O = \mathrm{softmax}(s Q K^\top + M) V$.

    Each device keeps its part of the queries; the parts of keys and values visit it one after another, and an online
    softmax adds up what it sees: no device ever holds more than two parts, and scores are quadratic in a part only.
    The backward pass is the transposed program, with the scores of each visit recomputed.

    Args:
        query: Queries.
        key: Keys; query heads share them in groups of `heads / kv_heads`.
        value: Values.
        window: Tokens a query sees, itself included; all earlier ones by default.
        scale: The factor $s$; $1/\sqrt{\text{dim}}$ by default.

    Returns:
        The attended values, in the type of `query`.

    Raises:
        UsageError: The mesh does not divide the sequence.

    References:
        Liu, Zaharia and Abbeel, Ring Attention with Blockwise Transformers, arXiv:2310.01889, algorithm 1.
    """
    devices = axis_size(AXIS)
    length, heads, dim = query.shape[-3:]
    groups = key.shape[-2]
    if length % devices:
        raise UsageError(f"ring attention over {devices} devices does not divide a sequence of {length} tokens")
    factor = 1 / math.sqrt(dim) if scale is None else scale
    wide = jnp.promote_types(query.dtype, jnp.float32)

    def local(query: Array, key: Array, value: Array) -> Array:
        own = query.shape[-3]
        me = jax.lax.axis_index(AXIS) if devices > 1 else jnp.int32(0)
        places = jnp.arange(own, dtype=jnp.int32)
        grouped = (query * factor).reshape(*query.shape[:-2], groups, heads // groups, dim)

        def visit(carry: tuple[Array, ...], hop: Array) -> tuple[tuple[Array, ...], None]:
            key, value, top, total, out = carry
            distance = (me * own + places)[:, None] - (((me - hop) % devices) * own + places)[None, :]
            seen = distance >= 0
            if window is not None:
                seen = seen & (distance < window)
            scores = jnp.einsum("bqngd,bknd->bngqk", grouped, key).astype(wide)
            scores = jnp.where(jnp.broadcast_to(seen, scores.shape), scores, _MASKED)
            new = jnp.maximum(top, jnp.max(scores, axis=-1))
            weights = jnp.where(jnp.broadcast_to(seen, scores.shape), jnp.exp(scores - new[..., None]), 0)
            shrink = jnp.exp(top - new)
            total = total * shrink + jnp.sum(weights, axis=-1)
            product = jnp.einsum("bngqk,bknd->bngqd", weights.astype(value.dtype), value).astype(wide)
            out = out * shrink[..., None] + product
            if devices > 1:
                key, value = jax.lax.ppermute((key, value), AXIS, neighbours(devices))
            return (key, value, new, total, out), None

        rows = (query.shape[0], groups, heads // groups, own)
        start = (key, value, jnp.full(rows, _MASKED, wide), jnp.zeros(rows, wide), jnp.zeros((*rows, dim), wide))
        (_, _, _, total, out), _ = jax.lax.scan(jax.checkpoint(visit), start, jnp.arange(devices, dtype=jnp.int32))
        out = (out / total[..., None]).astype(query.dtype)
        return jnp.moveaxis(out, -2, 1).reshape(query.shape)

    if devices == 1:
        return local(query, key, value)
    spec = PartitionSpec(None, AXIS)
    run = jax.shard_map(local, in_specs=(spec, spec, spec), out_specs=spec, axis_names={AXIS}, check_vma=False)
    return run(query, key, value)
