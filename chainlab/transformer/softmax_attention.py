"""Softmax attention, written out: the form that every other one is checked against."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chainlab.errors import UsageError
from chainlab.nn.norm import accumulator

MASKED = -1e30
"""Score of a masked pair; finite, so that no subtraction gives NaN, and its exponential is exactly zero."""


def visible(
    queries: Int[Array, " q"], keys: Int[Array, " k"], *, causal: bool = True, window: int | None = None
) -> Bool[Array, "q k"]:
    """Which key positions each query position sees.

    Args:
        queries: Positions of the queries.
        keys: Positions of the keys; negative ones are padding and never seen.
        causal: Whether a query sees no later key.
        window: A query sees keys less than this many positions away.

    Returns:
        The mask, true where a key is seen.
    """
    distance = queries[:, None] - keys[None, :]
    seen = jnp.broadcast_to(keys[None, :] >= 0, distance.shape)
    if causal:
        seen = seen & (distance >= 0)
    if window is not None:
        seen = seen & (jnp.abs(distance) < window)
    return seen


def check_heads(query: Array, key: Array, value: Array) -> None:
    """Raise a UsageError unless queries, keys and values fit together."""
    if key.shape != value.shape or query.shape[:-3] != key.shape[:-3] or query.shape[-1] != key.shape[-1]:
        raise UsageError(
            "attention needs query (*batch, q, heads, dim) and key, value (*batch, k, kv_heads, dim), "
            f"got {query.shape}, {key.shape} and {value.shape}"
        )
    if query.shape[-2] % key.shape[-2]:
        raise UsageError(f"key heads must divide query heads, got {key.shape[-2]} and {query.shape[-2]}")


def attention_weights(
    query: Float[Array, "*batch q heads dim"],
    key: Float[Array, "*batch k kv_heads dim"],
    mask: Bool[Array, "q k"],
    *,
    scale: float | None = None,
) -> Float[Array, "*batch heads q k"]:
    r"""Attention probabilities, $P = \mathrm{softmax}(s\,Q K^\top)$ over the seen keys.

    Args:
        query: Queries.
        key: Keys; query heads share them in groups of `heads / kv_heads`.
        mask: True where a query sees a key.
        scale: The factor $s$; $1/\sqrt{\text{dim}}$ by default.

    Returns:
        The probabilities, in float32 at least; exactly zero where masked, in a row that sees no key too.

    Example:
        >>> x = jnp.zeros((2, 1, 4))
        >>> attention_weights(x, x, jnp.array([[True, False], [True, True]]))[0].tolist()
        [[1.0, 0.0], [0.5, 0.5]]

    References:
        Vaswani et al., Attention Is All You Need, arXiv:1706.03762, equation 1.
    """
    *batch, length, heads, dim = query.shape
    groups = key.shape[-2]
    scale = 1.0 / math.sqrt(dim) if scale is None else scale
    grouped = (query * scale).reshape(*batch, length, groups, heads // groups, dim)
    scores = jnp.einsum("...qngd,...knd->...ngqk", grouped, key).reshape(*batch, heads, length, key.shape[-3])
    scores = scores.astype(accumulator(scores.dtype))
    seen = jnp.broadcast_to(mask, scores.shape)
    return jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, MASKED), axis=-1), 0)


def softmax_attention(
    query: Float[Array, "*batch q heads dim"],
    key: Float[Array, "*batch k kv_heads dim"],
    value: Float[Array, "*batch k kv_heads dim"],
    *,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
    mask: Bool[Array, "q k"] | None = None,
) -> Float[Array, "*batch q heads dim"]:
    r"""Attention by its definition, $O = \mathrm{softmax}(s\,Q K^\top + M)\,V$, in memory $O(q k)$.

    Any derivative of it exists: use it where forward mode, Hessians or attention maps are wanted.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        causal: Whether a query sees no later key.
        window: A query sees keys less than this many positions away.
        scale: Factor of the scores; $1/\sqrt{\text{dim}}$ by default.
        mask: Replaces the mask that `causal` and `window` describe.

    Returns:
        The attended values, in the type of `query`; zero for a query that sees no key.

    Raises:
        UsageError: The shapes do not fit together.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jax.random.normal(jax.random.key(0), (5, 2, 4))
        >>> bool(jnp.allclose(softmax_attention(x, x, x)[0], x[0]))  # the first token sees itself alone
        True

    References:
        Vaswani et al., Attention Is All You Need, arXiv:1706.03762, equation 1.
        Ainslie et al., GQA, arXiv:2305.13245, section 2.2 (grouped heads).
    """
    check_heads(query, key, value)
    if mask is None:
        mask = visible(jnp.arange(query.shape[-3]), jnp.arange(key.shape[-3]), causal=causal, window=window)
    *batch, length, heads, _ = query.shape
    groups = key.shape[-2]
    weights = attention_weights(query, key, mask, scale=scale).astype(query.dtype)
    weights = weights.reshape(*batch, groups, heads // groups, length, key.shape[-3])
    return jnp.einsum("...ngqk,...knd->...qngd", weights, value).reshape(query.shape)
