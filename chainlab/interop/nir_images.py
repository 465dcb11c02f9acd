r"""The layers of spiking networks on images, to and from NIR.

NIR has the channels of an image first and we have them last. A convolution's weights are transposed, a neuron's
constants are one a channel with us and one a pixel in NIR, and the weights of the dense layer that reads a flattened
image are put in the other order.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from chainlab import nn, spiking
from chainlab.errors import UsageError
from chainlab.nn.convolution import Sliding
from chainlab.nn.model import Model
from chainlab.typing import Params

Image = tuple[int, int]
Weight = Float[np.ndarray, "outputs inputs"]


def convolution_node(nir: Any, name: str, about: Sliding, params: Params, image: Image) -> tuple[Any, Image]:
    """The node of a convolution, and the size of its result.

    Args:
        nir: The library.
        name: Name of the layer.
        about: How its kernel slides.
        params: Its parameters.
        image: Height and width of what it reads, in pixels.

    Returns:
        A `Conv2d` node, and height and width of its result.

    Raises:
        UsageError: The kernel is not square, or the margins of two sides differ.
    """
    weight = np.asarray(params["weight"]).transpose(3, 2, 0, 1)
    height, width = weight.shape[2:]
    if height != width:
        raise UsageError(
            f"to_nir: layer {name!r} has a kernel of {height} x {width}; the sizes that NIR infers need a square one"
        )
    margins = _margins(about, (height, width), image)
    if any(before != after for before, after in margins):
        raise UsageError(
            f"to_nir: layer {name!r} pads images of {image} by {margins}; NIR pads both sides alike: "
            "give the convolution such a padding"
        )
    bias = np.asarray(params["bias"]) if "bias" in params else np.zeros(len(weight), np.float32)
    padding = (margins[0][0], margins[1][0])
    rows, columns = (
        (size + 2 * pad - height) // step + 1 for size, pad, step in zip(image, padding, about.stride, strict=True)
    )
    return nir.Conv2d(image, weight, about.stride, padding, 1, 1, bias), (rows, columns)


def _margins(about: Sliding, kernel: Image, image: Image) -> Sequence[tuple[int, int]]:
    if not isinstance(about.padding, str):
        return about.padding
    return jax.lax.padtype_to_pads(image, kernel, about.stride, about.padding)


def pooling_node(nir: Any, window: int) -> Any:
    """The node of a sum over windows that do not overlap."""
    return nir.SumPool2d(np.array([window, window]), np.array([window, window]), np.array([0, 0]))


def over_image(node: Any, image: Image) -> Any:
    """A neuron's node with one constant a channel, as one with a constant a pixel."""
    fields = {
        field.name: np.broadcast_to(value[:, None, None], (len(value), *image)).copy()
        for field in dataclasses.fields(node)
        if field.init and isinstance(value := getattr(node, field.name), np.ndarray)
    }
    return type(node)(**fields)


def channels_first(weight: Weight, channels: int, image: Image) -> Weight:
    """Weights of a flattened image whose inputs lie as (height, width, channels) for (channels, height, width)."""
    return weight.reshape(-1, *image, channels).transpose(0, 3, 1, 2).reshape(weight.shape)


def channels_last(weight: Weight, channels: int, image: Image) -> Weight:
    """The inverse of `channels_first`."""
    return weight.reshape(-1, channels, *image).transpose(0, 2, 3, 1).reshape(weight.shape)


def from_convolution(name: str, node: Any) -> tuple[Model, Params]:
    """A `Conv2d` node as a layer and its parameters.

    Args:
        name: Name of the node.
        node: The node.

    Returns:
        The convolution, with a bias unless the node's is zero, and its parameters.

    Raises:
        UsageError: The node is dilated or in groups.
    """
    for key in ("dilation", "groups"):
        if np.any(np.asarray(getattr(node, key)) != 1):
            raise UsageError(f"from_nir: node {name!r}: {key} must be 1, got {getattr(node, key)}")
    weight = np.asarray(node.weight, np.float32).transpose(2, 3, 1, 0)
    bias = np.asarray(node.bias, np.float32)
    padding: Any = str(node.padding).upper()
    if not isinstance(node.padding, str):
        padding = tuple((int(pad), int(pad)) for pad in node.padding)
    stride = (int(node.stride[0]), int(node.stride[1]))
    height, width, inputs, outputs = weight.shape
    has_bias = bool(np.any(bias != 0))
    layer = nn.convolution(inputs, outputs, (height, width), stride=stride, padding=padding, bias=has_bias)
    params: Params = {"weight": jnp.asarray(weight)}
    return layer, {"bias": jnp.asarray(bias), **params} if has_bias else params


def from_pooling(name: str, node: Any) -> Model:
    """A `SumPool2d` node as a layer; raises UsageError where its windows are not square or overlap."""
    window, stride, padding = (np.broadcast_to(getattr(node, k), (2,)) for k in ("kernel_size", "stride", "padding"))
    if window[0] != window[1] or np.any(stride != window) or np.any(padding != 0):
        raise UsageError(
            f"from_nir: node {name!r}: kernel_size must be square, stride equal to it and padding 0, "
            f"got {window.tolist()}, {stride.tolist()} and {padding.tolist()}"
        )
    return spiking.sum_pool(int(window[0]))


def flattened(name: str, node: Any) -> tuple[int, Image]:
    """Channels, and height and width, of the image that a `Flatten` node makes flat.

    Args:
        name: Name of the node.
        node: The node.

    Returns:
        Channels; height and width.

    Raises:
        UsageError: It does not make one axis of an image's three.
    """
    before, after = node.input_type["input"], node.output_type["output"]
    if before is None or len(before) != 3 or len(after) != 1:
        raise UsageError(
            f"from_nir: node {name!r}: must make one axis of (channels, height, width), got input_type {before}, "
            f"start_dim {node.start_dim} and end_dim {node.end_dim}"
        )
    channels, height, width = (int(size) for size in before)
    return channels, (height, width)


def by_channel(name: str, key: str, values: Any) -> Float[np.ndarray, " size"]:
    """A neuron's constants, one a neuron or one a channel of an image.

    Args:
        name: Name of the node.
        key: Name of its field.
        values: The field: one a neuron, or (channels, height, width).

    Returns:
        One a neuron or a channel.

    Raises:
        UsageError: Pixels of one channel differ.
    """
    array = np.asarray(values, np.float64)
    if array.ndim < 3:
        return array.ravel()
    if np.any(array != array[:, :1, :1]):
        raise UsageError(f"from_nir: node {name!r}: {key} must be alike in all pixels of a channel")
    return array[:, 0, 0]
