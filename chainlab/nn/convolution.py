"""Two-dimensional convolution, features last, in the form that is fast on the backend."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey

Padding: TypeAlias = Literal["SAME", "VALID"] | Sequence[tuple[int, int]]
"""Pixels added before and after, along height and width, or a rule for them."""


def convolution_form(form: str, where: str) -> str:
    """The form of a convolution on this backend, of every function that has several.

    Args:
        form: `product`, `lax` or `auto`.
        where: What the error calls the function.

    Returns:
        `product` or `lax`; for `auto`, `product` on CPU and `lax` elsewhere.

    Raises:
        UsageError: The form is unknown.
    """
    if form not in ("auto", "product", "lax"):
        raise UsageError(f"{where}: form must be auto, product or lax, got {form!r}")
    if form != "auto":
        return form
    return "product" if jax.default_backend() == "cpu" else "lax"


def convolve(
    x: Float[Array, "*batch height width features"],
    weight: Float[Array, "taps_y taps_x inputs outputs"],
    stride: tuple[int, int] = (1, 1),
    padding: Padding = "SAME",
    *,
    form: str = "auto",
) -> Float[Array, "*batch low narrow outputs"]:
    r"""Convolution (cross-correlation), $y_i = \sum_a W_a^\top x_{s i + a - p}$.

    The product form multiplies what each tile of taps (of the stride's size), or each tap, sees by that tap's matrix
    and adds the products up; every derivative of it is a product, a pad or a slice again. On CPU lax's gradients are
    20 to 50 times slower than it within a loop, and several times at second order.

    Args:
        x: Images, features last.
        weight: Kernel.
        stride: Vertical and horizontal stride $s$, in pixels.
        padding: `SAME`, `VALID`, or the pixels added before ($p$) and after, for height and for width.
        form: `product`, `lax`, or `auto`: `product` on CPU, `lax` elsewhere.

    Returns:
        Images of the outputs.

    Raises:
        UsageError: The form is unknown, or the kernel's inputs are not the features of `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1)), padding="VALID")[0, :, :, 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """
    if x.shape[-1] != weight.shape[2]:
        raise UsageError(f"convolve: a kernel of shape {weight.shape} does not fit images of shape {x.shape}")
    flat = x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(flat.shape[1:3], weight.shape[:2], stride, padding)
    if convolution_form(form, "convolve") == "lax":
        y = jax.lax.conv_general_dilated(flat, weight, stride, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    else:
        y = _by_product(flat, weight, stride, padding)
    return y.reshape(*x.shape[:-3], *y.shape[1:])


_WIDE = 32
"""Features from which a product for every part is cheaper than one of all parts side by side (measured on CPU)."""


def _by_product(x: Array, weight: Array, stride: tuple[int, int], padding: Sequence[tuple[int, int]]) -> Array:
    axes = zip(x.shape[1:3], weight.shape[:2], stride, padding, strict=True)
    out = [max((length + sum(pad) - taps) // step + 1, 0) for length, taps, step, pad in axes]
    shape = (x.shape[0], *out, weight.shape[3])
    if 0 in out:
        return jnp.zeros(shape, x.dtype)
    whole = all(taps % step == 0 for taps, step in zip(weight.shape[:2], stride, strict=True))
    parts, columns = (_tiles if whole else _slices)(x, weight, stride, padding, out)
    rows = [part.reshape(math.prod(shape[:3]), part.shape[-1]) for part in parts]
    if rows[0].shape[-1] < _WIDE:
        return (jnp.concatenate(rows, axis=-1) @ columns.reshape(-1, shape[3])).reshape(shape)
    products = [row @ taps for row, taps in zip(rows, columns.reshape(len(rows), -1, shape[3]), strict=True)]
    return functools.reduce(jnp.add, products).reshape(shape)


def _padded(x: Array, padding: Sequence[tuple[int, int]], size: Sequence[int]) -> Array:
    """The image from its padded start, cut or padded at the end to a size."""
    axes = zip(x.shape[1:3], padding, size, strict=True)
    edges = [(before, wanted - length - before, 0) for length, (before, _), wanted in axes]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def _tiles(
    x: Array, weight: Array, stride: tuple[int, int], padding: Sequence[tuple[int, int]], out: Sequence[int]
) -> tuple[list[Array], Array]:
    """What each tile of taps sees, by space-to-depth, and the taps of each: for kernels of whole tiles."""
    (height, width), (p, q), (m, n) = out, stride, (k // s for k, s in zip(weight.shape[:2], stride, strict=True))
    tall, wide = height + m - 1, width + n - 1
    padded = _padded(x, padding, (tall * p, wide * q)).reshape(x.shape[0], tall, p, wide, q, x.shape[3])
    tiles = padded.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape[0], tall, wide, p * q * x.shape[3])
    parts = [tiles[:, a : a + height, b : b + width] for a in range(m) for b in range(n)]
    return parts, weight.reshape(m, p, n, q, *weight.shape[2:]).transpose(0, 2, 1, 3, 4, 5)


def _slices(
    x: Array, weight: Array, stride: tuple[int, int], padding: Sequence[tuple[int, int]], out: Sequence[int]
) -> tuple[list[Array], Array]:
    """What each tap sees, by strided slices, and the taps: no tap of zeros is multiplied, as in tiles it would be."""
    (p, q), (m, n) = stride, weight.shape[:2]
    height, width = p * (out[0] - 1) + 1, q * (out[1] - 1) + 1
    padded = _padded(x, padding, (height + m - 1, width + n - 1))
    return [padded[:, a : a + height : p, b : b + width : q] for a in range(m) for b in range(n)], weight


@dataclass(frozen=True)
class Sliding:
    """How the kernel of a convolution slides over an image.

    Attributes:
        stride: Vertical and horizontal stride, in pixels.
        padding: What is around the image.
    """

    stride: tuple[int, int]
    padding: Padding


def convolution(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Padding = "SAME",
    bias: bool = True,
    weight_init: Initializer | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Model:
    r"""A convolution (cross-correlation) over height and width.

    Args:
        inputs: Number of input features.
        outputs: Number of output features.
        kernel: Height and width of the kernel, in pixels.
        stride: Vertical and horizontal stride, in pixels.
        padding: `SAME`, `VALID`, or the zeros above and below, and left and right of the image, in pixels.
        bias: Whether there is a bias.
        weight_init: Initialiser of `weight` (height, width, inputs, outputs); He normal by default.
        dtype: Type of the parameters.

    Returns:
        A model over `(*batch, height, width, inputs)` with parameters `weight` and, when asked for, `bias`.

    Raises:
        UsageError: A size is less than 1, a padding negative, or an input does not have `inputs` features.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = convolution(1, 8, (3, 3), stride=(2, 2))
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.ones((5, 28, 28, 1))).shape
        (5, 14, 14, 8)
    """
    if min(inputs, outputs, *kernel, *stride) < 1:
        raise UsageError(f"convolution needs sizes >= 1, got {inputs=}, {outputs=}, {kernel=}, {stride=}")
    if not isinstance(padding, str) and min(min(margin) for margin in padding) < 0:
        raise UsageError(f"convolution: padding must be at least 0, got {padding}")
    weight_init = weight_init or jax.nn.initializers.he_normal(in_axis=(0, 1, 2), out_axis=3)

    def init(key: PRNGKey) -> Params:
        weight = weight_init(key, (*kernel, inputs, outputs), dtype)
        return {"bias": jnp.zeros(outputs, dtype), "weight": weight} if bias else {"weight": weight}

    def apply(params: Params, x: Float[Array, "*batch height width dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        if x.shape[-1] != inputs:
            raise UsageError(f"convolution: x must have {inputs} features (last axis), got shape {x.shape}")
        y = convolve(x, params["weight"], stride, padding)
        return y + jnp.broadcast_to(params["bias"], y.shape) if bias else y

    return Model(init, apply, Sliding(stride, padding))
