"""What is chosen by device, in one place: how attention, layers and embeddings are computed."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike

AttentionForm = Literal["full", "blockwise", "fused"]

_BLOCKWISE_FROM = 512
"""Tokens from which blockwise attention is used where no fused kernel is."""

_SCAN_FROM = 13
"""Blocks from which the CPU scans them: unrolled is faster a step, but compiles in time that grows with depth."""

_ONE_HOT_UP_TO = 1024
"""Largest vocabulary whose embedding gradient the CPU forms by a product: its scatter-add is serial."""


def attention_form(length: int, dtype: DTypeLike) -> AttentionForm:
    """The form of softmax attention for a length.

    Args:
        length: Tokens of the sequence.
        dtype: Type of the queries.

    Returns:
        `fused` (cuDNN) on GPUs in half precision, else `full` for short sequences and `blockwise` for long.
    """
    if jax.default_backend() in ("gpu", "cuda", "rocm") and jnp.dtype(dtype).itemsize == 2:
        return "fused"
    return "blockwise" if length >= _BLOCKWISE_FROM else "full"


def layer_execution(layers: int) -> Literal["scan", "unrolled"]:
    """Whether `layers` blocks are scanned or unrolled: unrolled for few on CPU, scanned otherwise."""
    return "unrolled" if jax.default_backend() == "cpu" and layers < _SCAN_FROM else "scan"


def one_hot_embedding(vocabulary: int) -> bool:
    """Whether embeddings are looked up by a product with one-hot rows, whose gradient is a product too."""
    return jax.default_backend() == "cpu" and vocabulary <= _ONE_HOT_UP_TO
