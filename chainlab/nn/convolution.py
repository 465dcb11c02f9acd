"""Two-dimensional convolution, features last."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey

Margins: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""Zeros above and below, and left and right of an image, in pixels."""


@dataclass(frozen=True)
class Sliding:
    """How the kernel of a convolution slides over an image.

    Attributes:
        stride: Vertical and horizontal stride, in pixels.
        padding: What is around the image.
    """

    stride: tuple[int, int]
    padding: Literal["SAME", "VALID"] | Margins


def convolution(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Literal["SAME", "VALID"] | Margins = "SAME",
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
        flat = x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
        y = jax.lax.conv_general_dilated(
            flat, params["weight"], stride, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        if bias:
            y = y + jnp.broadcast_to(params["bias"], y.shape)
        return y.reshape(*x.shape[:-3], *y.shape[1:])

    return Model(init, apply, Sliding(stride, padding))
