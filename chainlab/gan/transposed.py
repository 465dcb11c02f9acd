"""Transposed and strided convolution whose every derivative is a product, a pad or a slice."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.convolution import convolution_form, convolve


def transposed_convolution(
    x: Float[Array, "*batch height width features"],
    weight: Float[Array, "taps_y taps_x inputs outputs"],
    stride: int = 2,
    *,
    form: str = "auto",
) -> Float[Array, "*batch tall wide outputs"]:
    r"""Transposed convolution to `stride` times the size, $y_{s i + a - c} = \sum_{i, a} x_i W_a$.

    The taps are those of the convolution that it transposes (PyTorch's order); $c = \lceil (k - s)/2 \rceil$ pixels are
    cropped at the start, as with padding `SAME`. The product form multiplies every pixel by all taps at once, adds the
    overlapping tap groups on a grid of tiles and interleaves them. On CPU its derivatives are far cheaper than those
    of a dilated convolution, at second order too, which every gradient penalty needs.

    Args:
        x: Images, features last.
        weight: Kernel of $k \times k$ taps, $k \ge s$.
        stride: $s$.
        form: `product`, `lax` (one dilated convolution), or `auto`: `product` on CPU, `lax` elsewhere.

    Returns:
        Images of $s$ times the height and width.

    Raises:
        UsageError: The kernel is not square, smaller than the stride, or its inputs are not the features of `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> transposed_convolution(jnp.ones((1, 2, 2, 1)), jnp.ones((2, 2, 1, 1)))[0, :, :, 0].tolist()[0]
        [1.0, 1.0, 1.0, 1.0]
    """
    k, s = weight.shape[0], stride
    if weight.shape[1] != k or not 1 <= s <= k or x.shape[-1] != weight.shape[2]:
        raise UsageError(
            f"transposed_convolution: wanted a square kernel of at least {s} taps and {x.shape[-1]} inputs, "
            f"got {weight.shape}"
        )
    flat = x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
    crop = (k - s + 1) // 2
    operation = _by_dilation if convolution_form(form, "transposed_convolution") == "lax" else _by_product
    y = operation(flat, weight, s, crop)
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def _by_dilation(x: Array, weight: Array, s: int, crop: int) -> Array:
    k, (height, width) = weight.shape[0], x.shape[1:3]
    low = k - 1 - crop
    pads = [(low, size * s - ((size - 1) * s + 1) - low + k - 1) for size in (height, width)]
    numbers = ("NHWC", "HWIO", "NHWC")
    flipped = weight[::-1, ::-1]
    return jax.lax.conv_general_dilated(x, flipped, (1, 1), pads, lhs_dilation=(s, s), dimension_numbers=numbers)


def _by_product(x: Array, weight: Array, s: int, crop: int) -> Array:
    batch, height, width, inputs = x.shape
    k, outputs = weight.shape[0], weight.shape[3]
    m = -(-k // s)  # tiles that a pixel reaches along an axis
    taps = jnp.pad(weight, ((0, m * s - k), (0, m * s - k), (0, 0), (0, 0)))
    columns = taps.reshape(m, s, m, s, inputs, outputs).transpose(4, 0, 2, 1, 3, 5).reshape(inputs, -1)
    product = (x.reshape(-1, inputs) @ columns).reshape(batch, height, width, m, m, s * s * outputs)
    shifted = [
        jnp.pad(product[:, :, :, a, b], ((0, 0), (a, m - 1 - a), (b, m - 1 - b), (0, 0)))
        for a in range(m)
        for b in range(m)
    ]
    tiles = functools.reduce(jnp.add, shifted)
    tall, wide = height + m - 1, width + m - 1
    pixels = tiles.reshape(batch, tall, wide, s, s, outputs).transpose(0, 1, 3, 2, 4, 5)
    full = pixels.reshape(batch, tall * s, wide * s, outputs)
    return full[:, crop : crop + height * s, crop : crop + width * s]


def strided_convolution(
    x: Float[Array, "*batch height width features"],
    weight: Float[Array, "taps_y taps_x inputs outputs"],
    stride: int = 2,
    *,
    form: str = "auto",
) -> Float[Array, "*batch low narrow outputs"]:
    r"""Convolution to $1/s$ of the size, $y_i = \sum_a W_a^\top x_{s i + a - c}$ with $c = \lceil (k - s)/2 \rceil$.

    Args:
        x: Images, features last; height and width are multiples of the stride.
        weight: Kernel of $k \times k$ taps, $k \ge s$.
        stride: $s$.
        form: See `chainlab.nn.convolve`.

    Returns:
        Images of $1/s$ of the height and width.

    Raises:
        UsageError: The kernel does not fit, or the stride does not divide the size.
    """
    k, s = weight.shape[0], stride
    if weight.shape[1] != k or not 1 <= s <= k or x.shape[-1] != weight.shape[2] or x.shape[-3] % s or x.shape[-2] % s:
        raise UsageError(
            f"strided_convolution: wanted a square kernel of at least {s} taps, {x.shape[-1]} inputs and a size that "
            f"{s} divides, got kernel {weight.shape} and images {x.shape}"
        )
    crop = (k - s + 1) // 2
    return convolve(x, weight, (s, s), [(crop, k - s - crop)] * 2, form=form)
