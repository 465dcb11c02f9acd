"""What is chosen by device, in one place: how attention, layers and embeddings are computed."""

import re
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


def cudnn_attention(head_dim: int, dtype: DTypeLike) -> bool:
    """Whether cuDNN has an attention kernel for these heads, which JAX takes only where it is told to.

    Args:
        head_dim: Features of a head.
        dtype: Type of the queries.

    Returns:
        True on CUDA GPUs of compute capability 8.0 and above, in half precision, for heads of a multiple of 8 features
        up to 128.
    """
    if jax.default_backend() not in ("gpu", "cuda") or jnp.dtype(dtype).itemsize != 2:
        return False
    version = re.fullmatch(r"(\d+)\.\d+", str(getattr(jax.devices()[0], "compute_capability", "")))
    return version is not None and int(version[1]) >= 8 and head_dim % 8 == 0 and head_dim <= 128


def attention_form(length: int, head_dim: int, dtype: DTypeLike) -> AttentionForm:
    """The form of softmax attention for a length.

    Args:
        length: Tokens of the sequence.
        head_dim: Features of a head.
        dtype: Type of the queries.

    Returns:
        `fused` where cuDNN has a kernel, else `full` for short sequences and `blockwise` for long.
    """
    if cudnn_attention(head_dim, dtype):
        return "fused"
    return "blockwise" if length >= _BLOCKWISE_FROM else "full"


def layer_execution(layers: int) -> Literal["scan", "unrolled"]:
    """Whether `layers` blocks are scanned or unrolled: unrolled for few on CPU, scanned otherwise."""
    return "unrolled" if jax.default_backend() == "cpu" and layers < _SCAN_FROM else "scan"


def one_hot_embedding(vocabulary: int) -> bool:
    """Whether embeddings are looked up by a product with one-hot rows, whose gradient is a product too."""
    return jax.default_backend() == "cpu" and vocabulary <= _ONE_HOT_UP_TO
