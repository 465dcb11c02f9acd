"""A random permutation of any length, evaluated one index at a time."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from chainlab.typing import PRNGKey

_ROUNDS = 8  # an even number returns the two halves to their widths


def mix(x: UInt32[Array, "*n"], key: UInt32[Array, "*n"] | UInt32[Array, ""]) -> UInt32[Array, "*n"]:
    """MurmurHash3's 32-bit finaliser, keyed."""
    x = x ^ key
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> jnp.uint32(shift))) * jnp.uint32(factor)
    return x ^ (x >> jnp.uint32(16))


def permute(index: Int[Array, "*n"], length: int, key: PRNGKey) -> Int[Array, "*n"]:
    r"""Where a random permutation of `0 .. length-1` sends each index.

    A keyed Feistel network permutes the next power of two; values outside the range walk on along their
    cycle until they fall inside. Nothing of size `length` is stored or sorted, so that a batch of any epoch
    is found from one integer.

    Args:
        index: Indices in `[0, length)`.
        length: Number of items.
        key: Picks the permutation.

    Returns:
        The permuted indices.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> sorted(permute(jnp.arange(5), 5, jax.random.key(0)).tolist())
        [0, 1, 2, 3, 4]

    References:
        Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002, sections 4 and 5.
    """
    bits = max(2, (length - 1).bit_length())
    round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def encrypt(x: UInt32[Array, "*n"]) -> UInt32[Array, "*n"]:
        left_bits, right_bits = bits // 2, bits - bits // 2
        left, right = x >> jnp.uint32(right_bits), x & jnp.uint32((1 << right_bits) - 1)
        for round_key in round_keys:
            left = (left ^ mix(right, round_key)) & jnp.uint32((1 << left_bits) - 1)
            left, right = right, left
            left_bits, right_bits = right_bits, left_bits
        return (left << jnp.uint32(right_bits)) | right

    def walk(x: UInt32[Array, "*n"]) -> UInt32[Array, "*n"]:
        return jnp.where(x >= length, encrypt(x), x)

    image = jax.lax.while_loop(lambda x: jnp.any(x >= length), walk, encrypt(index.astype(jnp.uint32)))
    return image.astype(jnp.int32)
