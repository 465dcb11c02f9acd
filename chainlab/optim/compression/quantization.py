"""Codes that send every coordinate in few bits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, UInt8

from chainlab.errors import UsageError
from chainlab.optim.compression.compressor import Compressor
from chainlab.typing import PRNGKey


def _pack(codes: Int[Array, " size"], bits: int) -> UInt8[Array, " bytes"]:
    """Codes of `bits` bits side by side in bytes, the first in the lowest bits."""
    each = 8 // bits
    padded = jnp.pad(codes.astype(jnp.uint8), (0, -codes.size % each)).reshape(-1, each)
    return jnp.sum(padded << (bits * jnp.arange(each, dtype=jnp.uint8))[None, :], axis=1, dtype=jnp.uint8)


def _unpack(packed: UInt8[Array, " bytes"], bits: int, size: int) -> Int[Array, " size"]:
    each = 8 // bits
    shifted = packed[:, None] >> (bits * jnp.arange(each, dtype=jnp.uint8))[None, :]
    return (shifted & jnp.uint8(2**bits - 1)).reshape(-1)[:size].astype(jnp.int32)


def _round_at_random(x: Float[Array, "*shape"], key: PRNGKey) -> Float[Array, "*shape"]:
    """One of the two nearest integers, so that the mean is `x`."""
    return jnp.floor(x + jax.random.uniform(key, x.shape, x.dtype))


def scaled_sign() -> Compressor:
    r"""The signs and the mean magnitude, $C(x) = \frac{\lVert x \rVert_1}{d} \mathrm{sign}(x)$: one bit a coordinate.

    $\lVert C(x) - x \rVert^2 = (1 - \frac{\lVert x \rVert_1^2}{d \lVert x \rVert^2}) \lVert x \rVert^2$.

    Returns:
        The code; contractive, not unbiased.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, key = jnp.array([3.0, -1.0, 0.5, -2.0]), jax.random.key(0)
        >>> code = scaled_sign()
        >>> code.decode(code.encode(x, key), 4).tolist()
        [1.625, -1.625, 1.625, -1.625]

    References:
        Karimireddy et al., Error Feedback Fixes SignSGD, arXiv:1901.09847, lemma 8.
    """

    def encode(x: Float[Array, " size"], key: PRNGKey) -> dict[str, Array]:
        del key
        return {"bits": _pack((x >= 0).astype(jnp.int32), 1), "scale": jnp.mean(jnp.abs(x))}

    def decode(message: dict[str, Array], size: int) -> Float[Array, " size"]:
        positive = _unpack(message["bits"], 1, size) > 0
        return jnp.where(positive, message["scale"], -message["scale"])

    return Compressor(encode, decode, lambda size: 1 - 1 / size, unbiased=False)


def one_bit() -> Compressor:
    r"""The signs, with the mean of the coordinates of either sign: of all codes by sign the one of least error.

    Returns:
        The code; contractive, not unbiased.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, key = jnp.array([3.0, -1.0, 0.5, -2.0]), jax.random.key(0)
        >>> code = one_bit()
        >>> code.decode(code.encode(x, key), 4).tolist()
        [1.75, -1.5, 1.75, -1.5]

    References:
        Seide et al., 1-Bit Stochastic Gradient Descent, Interspeech 2014, section 2.2.
    """

    def encode(x: Float[Array, " size"], key: PRNGKey) -> dict[str, Array]:
        del key
        positive = x >= 0
        many = jnp.sum(positive, dtype=jnp.float32)
        above = jnp.sum(jnp.where(positive, x, 0)) / jnp.maximum(many, 1)
        below = jnp.sum(jnp.where(positive, 0, x)) / jnp.maximum(x.size - many, 1)
        return {"bits": _pack(positive.astype(jnp.int32), 1), "means": jnp.stack([below, above])}

    def decode(message: dict[str, Array], size: int) -> Float[Array, " size"]:
        return message["means"][_unpack(message["bits"], 1, size)]

    return Compressor(encode, decode, lambda size: 1 - 1 / size, unbiased=False)


def qsgd(bits: int = 4) -> Compressor:
    r"""Stochastic rounding of $\lvert x_i \rvert / \lVert x \rVert$ to $s = 2^{b-1} - 1$ levels.

    $E\lVert C(x) - x \rVert^2 \le \min(d / s^2, \sqrt d / s) \lVert x \rVert^2$. The codes have a fixed width.

    Args:
        bits: Bits $b$ of a coordinate, sign included: 2, 4 or 8.

    Returns:
        The code; unbiased.

    Raises:
        UsageError: The bits are not 2, 4 or 8.

    Example:
        >>> import jax.numpy as jnp
        >>> from chainlab.optim.compression import wire_bytes
        >>> wire_bytes(qsgd(4), jnp.zeros(100))  # half a byte each, and the norm
        54

    References:
        Alistarh et al., QSGD, arXiv:1610.02132, section 3.1 and lemma 3.1.
    """
    if bits not in (2, 4, 8):
        raise UsageError(f"qsgd needs 2, 4 or 8 bits a coordinate, got {bits}")
    levels = 2 ** (bits - 1) - 1

    def encode(x: Float[Array, " size"], key: PRNGKey) -> dict[str, Array]:
        norm = jnp.linalg.norm(x)
        share = jnp.abs(x) / jnp.where(norm > 0, norm, 1)
        level = jnp.minimum(_round_at_random(share * levels, key), levels)
        code = (jnp.sign(x) * level).astype(jnp.int32) + levels
        return {"codes": _pack(code, bits), "norm": norm}

    def decode(message: dict[str, Array], size: int) -> Float[Array, " size"]:
        level = _unpack(message["codes"], bits, size) - levels
        return level.astype(jnp.float32) * (message["norm"] / levels)

    return Compressor(encode, decode, lambda size: min(size / levels**2, size**0.5 / levels), unbiased=True)


def block_integer(block: int = 256) -> Compressor:
    r"""Stochastic rounding to 8-bit integers, $x_i \approx q_i s$ with $s = \max_{\text{block}} \lvert x \rvert / 127$.

    $E\lVert C(x) - x \rVert^2 \le \frac{n}{4 \cdot 127^2} \lVert x \rVert^2$ for blocks of $n$ coordinates.

    Args:
        block: Coordinates that share a scale of 4 bytes.

    Returns:
        The code; unbiased.

    Raises:
        UsageError: `block` is less than 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> code = block_integer()
        >>> code.decode(code.encode(jnp.array([127.0, 1.0, -5.0]), jax.random.key(0)), 3).tolist()
        [127.0, 1.0, -5.0]

    References:
        Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861, section 2.1 (blocks).
    """
    if block < 1:
        raise UsageError(f"block_integer needs block >= 1, got {block}")

    def encode(x: Float[Array, " size"], key: PRNGKey) -> dict[str, Array]:
        rows = jnp.pad(x, (0, -x.size % block)).reshape(-1, block)
        scale = jnp.max(jnp.abs(rows), axis=1) / 127
        level = _round_at_random(rows / jnp.where(scale > 0, scale, 1)[:, None], key)
        return {"codes": jnp.clip(level, -127, 127).astype(jnp.int8).reshape(-1)[: x.size], "scale": scale}

    def decode(message: dict[str, Array], size: int) -> Float[Array, " size"]:
        scale = jnp.repeat(message["scale"], block, total_repeat_length=message["scale"].size * block)[:size]
        return message["codes"].astype(jnp.float32) * scale

    return Compressor(encode, decode, lambda size: min(block, size) / (4 * 127**2), unbiased=True)


def cast(dtype: DTypeLike = jnp.bfloat16) -> Compressor:
    r"""Round to a shorter floating type, $\lvert C(x)_i - x_i \rvert \le u \lvert x_i \rvert$ within its range.

    Args:
        dtype: The type; $u$ is half its machine epsilon.

    Returns:
        The code; contractive, not unbiased.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> code = cast()
        >>> code.decode(code.encode(jnp.array([1.5, 1.001]), jax.random.key(0)), 2).tolist()
        [1.5, 1.0]
    """
    unit = float(jnp.finfo(dtype).eps) / 2

    def encode(x: Float[Array, " size"], key: PRNGKey) -> Array:
        del key
        return x.astype(dtype)

    def decode(message: Array, size: int) -> Float[Array, " size"]:
        del size
        return message.astype(jnp.float32)

    return Compressor(encode, decode, lambda size: unit**2, unbiased=False)
