"""Linear attention with decay: a recurrence over time, and its equal in parallel chunks."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.norm import accumulator

Memory = Float[Array, "*batch heads dim dim"]


def _check(query: Array, key: Array, value: Array, log_decay: Array) -> None:
    if not query.shape == key.shape == value.shape or log_decay.shape != query.shape[:-1]:
        raise UsageError(
            "linear attention needs query, key and value of one shape (*batch, seq, heads, dim) and log_decay "
            f"(*batch, seq, heads), got {query.shape}, {key.shape}, {value.shape} and {log_decay.shape}"
        )


def _empty(query: Array) -> Array:
    *batch, _, heads, dim = query.shape
    return jnp.zeros((*batch, heads, dim, dim), accumulator(query.dtype))


def recurrent_linear_attention(
    query: Float[Array, "*batch seq heads dim"],
    key: Float[Array, "*batch seq heads dim"],
    value: Float[Array, "*batch seq heads dim"],
    log_decay: Float[Array, "*batch seq heads"],
    memory: Memory | None = None,
) -> tuple[Float[Array, "*batch seq heads dim"], Memory]:
    r"""Decayed linear attention as a recurrence, $S_t = e^{g_t} S_{t-1} + k_t v_t^\top$, $o_t = S_t^\top q_t$.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        log_decay: The log-decays $g_t \le 0$ of the memory.
        memory: $S_0$; zero by default.

    Returns:
        The outputs, in the type of `query`, and the last memory, in float32 at least.

    Raises:
        UsageError: The shapes do not fit together.

    References:
        Katharopoulos et al., Transformers are RNNs, arXiv:2006.16236, equations 16 to 20.
        Yang et al., Gated Linear Attention Transformers, arXiv:2312.06635, section 3.
    """
    _check(query, key, value, log_decay)
    memory = _empty(query) if memory is None else memory
    wide = memory.dtype

    def step(memory: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        q, k, v, g = inputs
        memory = memory * jnp.broadcast_to(jnp.exp(g)[..., None, None], memory.shape)
        memory = memory + k[..., :, None] * v[..., None, :]
        return memory, jnp.einsum("...hd,...hde->...he", q, memory)

    axis = query.ndim - 3
    inputs = tuple(jnp.moveaxis(x.astype(wide), axis, 0) for x in (query, key, value, log_decay))
    memory, out = jax.lax.scan(step, memory, inputs)
    return jnp.moveaxis(out, 0, axis).astype(query.dtype), memory


def chunked_linear_attention(
    query: Float[Array, "*batch seq heads dim"],
    key: Float[Array, "*batch seq heads dim"],
    value: Float[Array, "*batch seq heads dim"],
    log_decay: Float[Array, "*batch seq heads"],
    memory: Memory | None = None,
    *,
    chunk: int = 64,
) -> tuple[Float[Array, "*batch seq heads dim"], Memory]:
    r"""The same function as `recurrent_linear_attention`, by matrix products within chunks.

    With $G$ the running sum of $g$ in a chunk that starts from memory $S$:
    $o_i = e^{G_i} S^\top q_i + \sum_{j \le i} e^{G_i - G_j} (q_i \cdot k_j)\, v_j$ and
    $S' = e^{G_c} S + \sum_j e^{G_c - G_j} k_j v_j^\top$. No exponent is positive, so that nothing overflows.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        log_decay: The log-decays $g_t \le 0$ of the memory.
        memory: The memory before the first token; zero by default.
        chunk: Tokens of a chunk.

    Returns:
        The outputs, in the type of `query`, and the last memory, in float32 at least.

    Raises:
        UsageError: The shapes do not fit together, or `chunk` is less than 1.

    References:
        Yang et al., Gated Linear Attention Transformers, arXiv:2312.06635, section 4.
        Dao and Gu, Transformers are SSMs, arXiv:2405.21060, section 6.
    """
    _check(query, key, value, log_decay)
    if chunk < 1:
        raise UsageError(f"chunked_linear_attention needs chunk >= 1, got {chunk}")
    *batch, length, heads, dim = query.shape
    chunk = min(chunk, length)
    count = -(-length // chunk)
    memory = _empty(query) if memory is None else memory
    wide = memory.dtype
    rows = math.prod(batch)

    def cut(x: Array, *tail: int) -> Array:
        """`(count, rows, heads, chunk, *tail)`; padding has no decay, no key and no value."""
        x = x.astype(wide).reshape(rows, length, heads, *tail)
        x = jnp.pad(x, ((0, 0), (0, count * chunk - length), (0, 0), *((0, 0) for _ in tail)))
        return jnp.moveaxis(jnp.moveaxis(x.reshape(rows, count, chunk, heads, *tail), 1, 0), 2, 3)

    causal = jnp.tril(jnp.ones((chunk, chunk), bool))

    def step(memory: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        q, k, v, g = inputs
        total = jnp.cumsum(g, axis=-1)
        exponent = total[..., :, None] - total[..., None, :]
        decay = jnp.exp(jnp.where(jnp.broadcast_to(causal, exponent.shape), exponent, -jnp.inf))
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * decay
        inside = jnp.einsum("bhqk,bhke->bhqe", scores, v)
        before = jnp.einsum("bhqd,bhde->bhqe", q * jnp.broadcast_to(jnp.exp(total)[..., None], q.shape), memory)
        last = total[..., -1:]
        kept = k * jnp.broadcast_to(jnp.exp(last - total)[..., None], k.shape)
        memory = memory * jnp.broadcast_to(jnp.exp(last)[..., None], memory.shape)
        return memory + jnp.einsum("bhkd,bhke->bhde", kept, v), inside + before

    inputs = (cut(query, dim), cut(key, dim), cut(value, dim), cut(log_decay))
    memory, out = jax.lax.scan(step, memory.reshape(rows, heads, dim, dim), inputs)
    out = jnp.moveaxis(jnp.moveaxis(out, 3, 2), 0, 1).reshape(rows, count * chunk, heads, dim)[:, :length]
    return out.reshape(query.shape).astype(query.dtype), memory.reshape(*batch, heads, dim, dim)
