"""Cheap sensor noise: an integer hash of (seed, element), fused into the renderer's loop.

Threefry for every pixel would cost more than the picture itself; noise needs no cryptography.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, UInt32

from chainlab.typing import PRNGKey


def seed_of(key: PRNGKey) -> UInt32[Array, ""]:
    """One word of randomness from a key."""
    return jax.random.bits(key, (), jnp.uint32)


def hashed(seed: UInt32[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """32 hashed bits for every element of a shape.

    Args:
        seed: Any word.
        shape: The shape.

    Returns:
        The bits.

    References:
        Wellons, Prospecting for Hash Functions (2018): the constants of lowbias32.
    """
    x = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) * jnp.uint32(0x9E3779B9) + seed
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def uniform(seed: UInt32[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
    """Numbers in [0, 1) by hash.

    Args:
        seed: Any word.
        shape: The shape.
        dtype: Type of the result.

    Returns:
        The numbers.
    """
    return (hashed(seed, shape) >> 8).astype(jnp.int32).astype(dtype) * 2.0**-24


def normal(seed: UInt32[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
    """Nearly normal numbers of mean 0 and variance 1: the standardised sum of the hash's four bytes.

    Args:
        seed: Any word.
        shape: The shape.
        dtype: Type of the result.

    Returns:
        The numbers, within 3.46 deviations.

    Example:
        >>> import jax.numpy as jnp
        >>> draws = normal(jnp.uint32(3), (4096,))
        >>> bool(jnp.abs(jnp.mean(draws)) < 0.05), bool(jnp.abs(jnp.std(draws) - 1) < 0.05)
        (True, True)
    """
    bits = hashed(seed, shape)
    total = (bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255) + (bits >> 24)
    return (total.astype(jnp.int32).astype(dtype) - 510.0) * (1 / math.sqrt((256**2 - 1) / 3))
