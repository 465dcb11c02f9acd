"""Softmax attention in memory linear in the length, by tiles, with a derivative of its own."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from chainlab.errors import UsageError
from chainlab.nn.norm import accumulator
from chainlab.transformer.softmax_attention import MASKED, check_heads, visible


class _Plan(NamedTuple):
    """What is static: lengths in tokens, tiles in tokens, the mask, and the factor of the scores."""

    queries: int
    keys: int
    tile: int
    causal: bool
    window: int | None
    scale: float

    def key_tiles(self, i: Any) -> tuple[Any, Any]:
        """First and one past the last key tile that query tile `i` sees."""
        return self._reach(i, self.keys, self._far, 0 if self.causal else self._far)

    def query_tiles(self, j: Any) -> tuple[Any, Any]:
        """First and one past the last query tile that sees key tile `j`."""
        return self._reach(j, self.queries, 0 if self.causal else self._far, self._far)

    @property
    def _far(self) -> int | None:
        return None if self.window is None else self.window - 1

    def _reach(self, index: Any, length: int, behind: int | None, ahead: int | None) -> tuple[Any, Any]:
        """Tiles with a token at most `behind` before or `ahead` after a token of tile `index`."""
        count = -(-length // self.tile)
        first = 0 if behind is None else jnp.maximum(0, (index * self.tile - behind) // self.tile)
        last = count if ahead is None else jnp.minimum(count, ((index + 1) * self.tile - 1 + ahead) // self.tile + 1)
        return first, last


def _tile(x: Array, index: Any, size: int) -> Array:
    """Tokens `index * size ...` of `(batch, seq, ...)`."""
    return jax.lax.dynamic_slice_in_dim(x, index * size, size, axis=1)


def _put(x: Array, part: Array, index: Any, size: int) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, index * size, axis=1)


def _scores(plan: _Plan, q: Array, k: Array, i: Any, j: Any) -> Float[Array, "batch groups shared q k"]:
    """Masked scores of query tile `i` and key tile `j`, in float32 at least."""
    scores = jnp.einsum("bqngd,bknd->bngqk", q, k)
    scores = scores.astype(accumulator(scores.dtype)) * plan.scale

    def position(index: Any, length: int) -> Int[Array, " tile"]:
        at = index * plan.tile + jnp.arange(plan.tile, dtype=jnp.int32)
        return jnp.where(at < length, at, -1)

    # a padded query (-1) sees no key, a padded key is seen by none
    mask = visible(position(i, plan.queries), position(j, plan.keys), causal=plan.causal, window=plan.window)
    return jnp.where(jnp.broadcast_to(mask, scores.shape), scores, MASKED)


def _spread(x: Shaped[Array, "batch groups shared q"], like: Array) -> Array:
    """Statistics of the queries, broadcast over a trailing axis of `like`."""
    return jnp.broadcast_to(x[..., None], like.shape)


def _forward(plan: _Plan, query: Array, key: Array, value: Array) -> tuple[Array, Array]:
    """The attended values and the log of each query's normaliser, `(batch, seq, groups, shared)`."""
    batch, padded, groups, shared, dim = query.shape
    wide = accumulator(query.dtype)

    def query_tile(i: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
        q = _tile(query, i, plan.tile)

        def key_tile(j: Int[Array, ""], state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            total, top, out = state
            scores = _scores(plan, q, _tile(key, j, plan.tile), i, j)
            new_top = jnp.maximum(top, jnp.max(scores, axis=-1))
            decay = jnp.exp(top - new_top)
            weights = jnp.exp(scores - _spread(new_top, scores))
            add = jnp.einsum("bngqk,bknd->bngqd", weights.astype(value.dtype), _tile(value, j, plan.tile))
            return total * decay + jnp.sum(weights, axis=-1), new_top, out * _spread(decay, out) + add.astype(wide)

        shape = (batch, groups, shared, plan.tile)
        start = (jnp.zeros(shape, wide), jnp.full(shape, MASKED, wide), jnp.zeros((*shape, dim), wide))
        total, top, out = jax.lax.fori_loop(*plan.key_tiles(i), key_tile, start)
        # a query that sees no key: its output is zero, and so is each probability that 0 gives in the backward pass
        blind = top == MASKED
        total = jnp.where(blind, 1, total)
        out = jnp.where(_spread(blind, out), 0, out / _spread(total, out))
        log_total = jnp.where(blind, 0, top + jnp.log(total))
        out, log_total = (jnp.moveaxis(x, 3, 1) for x in (out, log_total))
        return _put(carry[0], out.astype(query.dtype), i, plan.tile), _put(carry[1], log_total, i, plan.tile)

    start = (jnp.zeros_like(query), jnp.zeros((batch, padded, groups, shared), wide))
    return jax.lax.fori_loop(0, padded // plan.tile, query_tile, start)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(plan: _Plan, query: Array, key: Array, value: Array) -> Array:
    return _forward(plan, query, key, value)[0]


def _attend_forward(plan: _Plan, query: Array, key: Array, value: Array) -> tuple[Array, tuple[Array, ...]]:
    out, log_total = _forward(plan, query, key, value)
    return out, (query, key, value, out, log_total)


def _attend_backward(plan: _Plan, saved: tuple[Array, ...], grad: Array) -> tuple[Array, Array, Array]:
    """Recompute each tile's probabilities from the saved normaliser; see Dao et al., algorithm 4."""
    query, key, value, out, log_total = saved
    wide = log_total.dtype
    # the derivative of the normaliser: sum over features of out * grad, one number a query
    shift = jnp.sum(out.astype(wide) * grad.astype(wide), axis=-1)

    def key_tile(j: Int[Array, ""], carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, v = _tile(key, j, plan.tile), _tile(value, j, plan.tile)

        def query_tile(i: Int[Array, ""], state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            grad_query, grad_k, grad_v = state
            q, g = _tile(query, i, plan.tile), _tile(grad, i, plan.tile)
            scores = _scores(plan, q, k, i, j)
            weights = jnp.exp(scores - _spread(jnp.moveaxis(_tile(log_total, i, plan.tile), 1, 3), scores))
            grad_v = grad_v + jnp.einsum("bngqk,bqngd->bknd", weights.astype(g.dtype), g).astype(wide)
            slope = jnp.einsum("bqngd,bknd->bngqk", g, v).astype(wide)
            slope = slope - _spread(jnp.moveaxis(_tile(shift, i, plan.tile), 1, 3), slope)
            slope = (weights * slope * plan.scale).astype(query.dtype)
            grad_k = grad_k + jnp.einsum("bngqk,bqngd->bknd", slope, q).astype(wide)
            add = _tile(grad_query, i, plan.tile) + jnp.einsum("bngqk,bknd->bqngd", slope, k).astype(wide)
            return _put(grad_query, add, i, plan.tile), grad_k, grad_v

        zero = jnp.zeros(k.shape, wide)
        grad_query, grad_k, grad_v = jax.lax.fori_loop(*plan.query_tiles(j), query_tile, (carry[0], zero, zero))
        grad_key = _put(carry[1], grad_k.astype(key.dtype), j, plan.tile)
        return grad_query, grad_key, _put(carry[2], grad_v.astype(value.dtype), j, plan.tile)

    start = (jnp.zeros(query.shape, wide), jnp.zeros_like(key), jnp.zeros_like(value))
    grad_query, grad_key, grad_value = jax.lax.fori_loop(0, key.shape[1] // plan.tile, key_tile, start)
    return grad_query.astype(query.dtype), grad_key, grad_value


_attend.defvjp(_attend_forward, _attend_backward)


def blockwise_attention(
    query: Float[Array, "*batch q heads dim"],
    key: Float[Array, "*batch k kv_heads dim"],
    value: Float[Array, "*batch k kv_heads dim"],
    *,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
    tile: int = 128,
) -> Float[Array, "*batch q heads dim"]:
    r"""Softmax attention whose memory grows with the length and not with its square, forward and backward.

    Keys are visited tile by tile with a running maximum $m$ and normaliser $l$; the backward pass keeps
    $m + \log l$ and recomputes the probabilities of a tile when it needs them. Tiles that the mask hides
    are not visited. The derivative is declared (`jax.custom_vjp`), hence first order and reverse mode only:
    `softmax_attention` is the same function with every derivative.

    Args:
        query: Queries.
        key: Keys; query heads share them in groups of `heads / kv_heads`.
        value: Values.
        causal: Whether a query sees no later key.
        window: A query sees keys less than this many positions away.
        scale: Factor of the scores; $1/\sqrt{\text{dim}}$ by default.
        tile: Tokens of a tile.

    Returns:
        The attended values, in the type of `query`; zero for a query that sees no key.

    Raises:
        UsageError: The shapes do not fit together, or `tile` or `window` is less than 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jax.random.normal(jax.random.key(0), (40, 2, 4))
        >>> from chainlab.transformer import softmax_attention
        >>> bool(jnp.allclose(blockwise_attention(x, x, x, tile=16), softmax_attention(x, x, x), atol=1e-5))
        True

    References:
        Rabe and Staats, Self-attention Does Not Need O(n^2) Memory, arXiv:2112.05682.
        Dao et al., FlashAttention, arXiv:2205.14135, algorithms 1 and 4.
    """
    check_heads(query, key, value)
    if tile < 1 or (window is not None and window < 1):
        raise UsageError(f"blockwise_attention needs tile >= 1 and window >= 1, got {tile=}, {window=}")
    *batch, length, heads, dim = query.shape
    keys, groups = key.shape[-3], key.shape[-2]
    tile = min(tile, max(length, keys))
    plan = _Plan(length, keys, tile, causal, window, 1.0 / math.sqrt(dim) if scale is None else scale)

    def padded(x: Array, *tail: int) -> Array:
        x = x.reshape(math.prod(batch), x.shape[-3], *tail)
        return jnp.pad(x, ((0, 0), (0, -x.shape[1] % tile), *((0, 0) for _ in tail)))

    grouped: Array = padded(query, groups, heads // groups, dim)
    out: Array = _attend(plan, grouped, padded(key, groups, dim), padded(value, groups, dim))
    return out[:, :length].reshape(query.shape)
