"""The part of a block that moves information between tokens: attention layers and the depthwise mix."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.nn.dense import affine
from chainlab.nn.norm import accumulator, root_mean_square
from chainlab.transformer.architecture import Architecture, Kind
from chainlab.transformer.attention import attend
from chainlab.transformer.initialization import branch_init, matrix_init
from chainlab.transformer.linear_attention import chunked_linear_attention
from chainlab.transformer.rotary import rotate
from chainlab.transformer.softmax_attention import softmax_attention, visible
from chainlab.typing import Params, PRNGKey

Cache = dict[str, Any]


class Mixer(NamedTuple):
    """A layer over a sequence that can also be fed a token at a time.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, x, cache, position) -> (y, cache)` over `(batch, seq, dim)`. Without a cache
            (None) the whole sequence is given. With one, either the first tokens at position 0 or one token
            at `position`.
        start: `start(batch, dtype) -> cache`, empty.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., tuple[Array, Cache | None]]
    start: Callable[..., Cache]


class Projections(NamedTuple):
    """The matrices of an attention layer.

    Attributes:
        init: `init(key) -> params`, of `query`, `key`, `value` and `out`.
        split: `split(params, x) -> [query, key, value]` by heads. The weights are separate, so that optimisers see
            each matrix, but enter one product.
        merge: `merge(params, heads) -> y`, of the residual stream's width.
    """

    init: Callable[[PRNGKey], dict[str, Any]]
    split: Callable[[Params, Array], list[Array]]
    merge: Callable[[Params, Array], Array]


def projections(architecture: Architecture) -> Projections:
    """The projections that an architecture asks for, into heads and out of them.

    Args:
        architecture: The shape.

    Returns:
        The projections.
    """
    a = architecture
    heads = {"query": a.heads, "key": a.groups, "value": a.groups}

    def init(key: PRNGKey) -> dict[str, Any]:
        into_key, out_key = jax.random.split(key)
        draw = matrix_init(a)
        params: dict[str, Any] = {"out": {"weight": branch_init(a)(out_key, (a.dim, a.dim), jnp.float32)}}
        for (name, count), k in zip(heads.items(), jax.random.split(into_key, 3), strict=True):
            params[name] = {"weight": draw(k, (a.dim, count * a.head_dim), jnp.float32)}
        if a.bias:
            for part in params.values():
                part["bias"] = jnp.zeros(part["weight"].shape[1])
        return params

    def split(params: Params, x: Float[Array, "batch seq dim"]) -> list[Array]:
        parts = [params[name] for name in heads]
        weight = jnp.concatenate([p["weight"] for p in parts], axis=1)
        bias = jnp.concatenate([p["bias"] for p in parts]) if a.bias else None
        y = affine(x, weight, bias).reshape(*x.shape[:-1], sum(heads.values()), a.head_dim)
        return list(jnp.split(y, [a.heads, a.heads + a.groups], axis=-2))

    def merge(params: Params, y: Float[Array, "batch seq heads head_dim"]) -> Float[Array, "batch seq dim"]:
        out = params["out"]
        return affine(y.reshape(*y.shape[:-2], a.dim), out["weight"], out.get("bias"))

    return Projections(init, split, merge)


def score_scale(architecture: Architecture) -> float:
    r"""Factor of the attention scores: $1/\sqrt{d}$ of the head width, under muP $1/d$, equal at the base width."""
    return architecture.head_dim**-0.5 * architecture.width_ratio**-0.5


def query_key_value(
    architecture: Architecture, params: Params, x: Float[Array, "batch seq dim"], positions: Int[Array, " seq"]
) -> list[Array]:
    """Queries, keys and values by heads as softmax attention takes them: normalised and rotated where asked for.

    Args:
        architecture: The shape.
        params: Parameters of the attention layer.
        x: Its input.
        positions: Position of each token.

    Returns:
        Query (batch, seq, heads, head_dim), key and value (batch, seq, kv_heads, head_dim).
    """
    query, key, value = projections(architecture).split(params, x)
    if architecture.qk_norm:
        query, key = root_mean_square(query), root_mean_square(key)
    if architecture.positions == "rotary":
        query, key = (rotate(y, positions, base=architecture.rotary_base) for y in (query, key))
    return [query, key, value]


def softmax_mixer(architecture: Architecture, kind: Kind) -> Mixer:
    """Multi-head softmax attention, global or over a sliding window, with a key-value cache.

    The cache is a ring of `context` slots (`window` for local layers): position p lies in slot p mod slots.

    Args:
        architecture: The shape.
        kind: `global` or `local`.

    Returns:
        The mixer; parameters `query`, `key`, `value`, `out`.
    """
    a = architecture
    window = a.window if kind == "local" else None
    slots = a.context if window is None else min(window, a.context)
    init, _, merge = projections(a)

    def apply(
        params: Params, x: Float[Array, "batch seq dim"], cache: Cache | None = None, position: Any = 0
    ) -> tuple[Array, Cache | None]:
        length = x.shape[1]
        positions = jnp.arange(length, dtype=jnp.int32) + position
        query, key, value = query_key_value(a, params, x, positions)
        if cache is not None:
            kept = positions[-slots:]
            cache = {
                "key": cache["key"].at[:, kept % slots].set(key[:, -slots:]),
                "value": cache["value"].at[:, kept % slots].set(value[:, -slots:]),
            }
        if cache is None or length > 1:
            y = attend(query, key, value, window=window, scale=score_scale(a), form=a.attention)
        else:
            # the last position at or before this one that lies in each slot; negative where still empty
            held = position - (position - jnp.arange(slots, dtype=jnp.int32)) % slots
            mask = visible(positions, held, window=window)
            y = softmax_attention(query, cache["key"], cache["value"], scale=score_scale(a), mask=mask)
        return merge(params, y), cache

    def start(batch: int, dtype: Any) -> Cache:
        shape = (batch, slots, a.groups, a.head_dim)
        return {"key": jnp.zeros(shape, dtype), "value": jnp.zeros(shape, dtype)}

    return Mixer(init, apply, start)


def linear_mixer(architecture: Architecture) -> Mixer:
    r"""Multi-head linear attention with a learned decay, in memory and time linear in the length.

    The log-decay of a head is $-\mathrm{softplus}(w \cdot x + b)$; each head's output is divided by its
    root mean square, which stands in for the softmax's normaliser. Decay carries the positions.

    Args:
        architecture: The shape.

    Returns:
        The mixer; parameters `query`, `key`, `value`, `decay`, `out`; its cache is the memory, of fixed size.

    References:
        Sun et al., Retentive Network, arXiv:2307.08621, equation 8 (normalised heads).
        Yang et al., Gated Linear Attention Transformers, arXiv:2312.06635, section 4.
    """
    a = architecture
    init_projections, split, merge = projections(a)

    def init(key: PRNGKey) -> Params:
        # half-lives of 2 to 2^heads tokens at the start, as in RetNet
        rate = jnp.log(2.0) * 2.0 ** -jnp.arange(1, a.heads + 1, dtype=jnp.float32)
        decay = {"weight": jnp.zeros((a.dim, a.heads)), "bias": jnp.log(jnp.expm1(rate))}
        return {**init_projections(key), "decay": decay}

    def apply(
        params: Params, x: Float[Array, "batch seq dim"], cache: Cache | None = None, position: Any = 0
    ) -> tuple[Array, Cache | None]:
        del position
        query, key, value = split(params, x)
        if a.qk_norm:
            query, key = root_mean_square(query), root_mean_square(key)
        key = key * a.head_dim**-0.5
        key, value = (jnp.repeat(y, a.heads // a.groups, axis=-2) for y in (key, value))
        decay = -jax.nn.softplus(affine(x, params["decay"]["weight"], params["decay"]["bias"]))
        memory = None if cache is None else cache["memory"]
        y, memory = chunked_linear_attention(query, key, value, decay, memory)
        y = merge(params, root_mean_square(y))
        return y, None if cache is None else {"memory": memory}

    def start(batch: int, dtype: Any) -> Cache:
        wide = accumulator(dtype)
        return {"memory": jnp.zeros((batch, a.heads, a.head_dim, a.head_dim), wide)}

    return Mixer(init, apply, start)


def depthwise_mix(dim: int, reach: int) -> Mixer:
    r"""A causal depthwise convolution beside the identity, $y_t = x_t + \sum_{j=1}^{r} c_j \odot x_{t-j}$.

    The coefficients start at zero, so that it starts as the identity.

    Args:
        dim: Number of features.
        reach: Earlier tokens $r$ that are mixed in.

    Returns:
        The mixer; parameter `taps` (reach, dim); its cache is the last `reach` inputs.

    References:
        So et al., Primer, arXiv:2109.08668, section 3 (depthwise convolutions beside attention).
    """

    def apply(
        params: Params, x: Float[Array, "batch seq dim"], cache: Cache | None = None, position: Any = 0
    ) -> tuple[Array, Cache | None]:
        del position
        length = x.shape[1]
        past = jnp.zeros((x.shape[0], reach, dim), x.dtype) if cache is None else cache["past"]
        long = jnp.concatenate([past, x], axis=1)
        y = x
        for lag in range(1, reach + 1):
            tap = jnp.broadcast_to(params["taps"][lag - 1], x.shape)
            y = y + tap * long[:, reach - lag : reach - lag + length]
        return y, None if cache is None else {"past": long[:, length:]}

    def start(batch: int, dtype: Any) -> Cache:
        return {"past": jnp.zeros((batch, reach, dim), dtype)}

    return Mixer(lambda key: {"taps": jnp.zeros((reach, dim))}, apply, start)
