"""Softmax attention in the form that suits the backend."""

import jax
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.parallel import axis_size, ring_attention
from chainlab.transformer.backend import attention_form, cudnn_attention
from chainlab.transformer.blockwise_attention import blockwise_attention
from chainlab.transformer.softmax_attention import softmax_attention


def attend(
    query: Float[Array, "*batch seq heads dim"],
    key: Float[Array, "*batch seq kv_heads dim"],
    value: Float[Array, "*batch seq kv_heads dim"],
    *,
    window: int | None = None,
    scale: float | None = None,
    form: str = "auto",
) -> Float[Array, "*batch seq heads dim"]:
    r"""Causal self-attention, $\mathrm{softmax}(s\,Q K^\top + M)\,V$, by whichever form suits the backend.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        window: Tokens a query sees, itself included; all earlier ones by default.
        scale: Factor of the scores; $1/\sqrt{\text{dim}}$ by default.
        form: `full` (every derivative, memory quadratic in the length), `blockwise` (memory linear, first
            order), `ring` (the sequence is divided over the `sequence` axis of a mesh), `fused`
            (`jax.nn.dot_product_attention`, by cuDNN where it has a kernel), or `auto`.

    Returns:
        The attended values.

    Raises:
        UsageError: The shapes do not fit together, or there is no such form.

    References:
        Vaswani et al., Attention Is All You Need, arXiv:1706.03762, equation 1; Dao et al., FlashAttention,
        arXiv:2205.14135 (`blockwise`); Liu et al., Ring Attention, arXiv:2310.01889 (`ring`).
    """
    if form == "auto" and query.ndim == 4 and axis_size("sequence") > 1 and not query.shape[-3] % axis_size("sequence"):
        form = "ring"
    if form == "auto":
        form = attention_form(query.shape[-3], query.shape[-1], query.dtype)
    if form == "full":
        return softmax_attention(query, key, value, window=window, scale=scale)
    if form == "blockwise":
        return blockwise_attention(query, key, value, window=window, scale=scale)
    if form == "ring":
        return ring_attention(query, key, value, window=window, scale=scale)
    if form == "fused":
        # its window is the number of earlier tokens, ours counts the token itself
        local = None if window is None else (window - 1, 0)
        kernel = "cudnn" if cudnn_attention(query.shape[-1], query.dtype) else None
        return jax.nn.dot_product_attention(
            query, key, value, scale=scale, is_causal=True, local_window_size=local, implementation=kernel
        )
    raise UsageError(f"unknown form of attention {form!r}; choose auto, full, blockwise, ring or fused")
