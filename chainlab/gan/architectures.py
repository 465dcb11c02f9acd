"""Generators and critics: multilayer perceptrons, DCGAN-size and residual convolutional networks."""

import math
from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp

from chainlab.errors import UsageError
from chainlab.gan.layers import beside, down, flatten, frequencies, labelled, leaky, reshape, scored, up
from chainlab.nn.convolution import convolution
from chainlab.nn.dense import dense
from chainlab.nn.model import Model, residual, sequential

_HE = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_TANH = Model(lambda key: {}, lambda params, x, *, key=None: jnp.tanh(x))


def _check(latent: int, classes: int, shape: Sequence[int]) -> None:
    if latent < 1:
        raise UsageError(f"a generator needs a latent size >= 1, got {latent}")
    if classes < 0 or min(shape, default=0) < 1:
        raise UsageError(f"a generator needs classes >= 0 and an example shape of sizes >= 1, got {classes}, {shape}")


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] % 4 or shape[1] % 4:
        raise UsageError(f"wanted images (height, width, channels) with sizes that 4 divides, got shape {tuple(shape)}")
    return shape[0], shape[1], shape[2]


def _perceptron(sizes: Sequence[int]) -> dict[str, Model]:
    layers: dict[str, Model] = {}
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers[f"dense{index}"] = dense(inputs, outputs, weight_init=_HE)
        if index < len(sizes) - 2:
            layers[f"leaky{index}"] = leaky()
    return layers


def mlp_generator(
    latent: int,
    shape: Sequence[int],
    *,
    hidden: Sequence[int] = (64, 64, 64),
    classes: int = 0,
    bounded: bool = False,
    skip: bool = False,
) -> Model:
    r"""A perceptron from latent vectors to examples.

    Args:
        latent: Latent size.
        shape: Shape of an example: `(2,)`, or `(height, width, channels)`.
        hidden: Features of the hidden layers.
        classes: Number of classes; 0 for an unconditional generator.
        bounded: Whether a tanh ends it, for data in [-1, 1].
        skip: Whether the last layer sees the latent vector beside its features. The width of the modes can
            then be one linear map of the latent vector, which all of them share.

    Returns:
        A model `apply(params, z)` or, with classes, `apply(params, z, y)`.

    Raises:
        UsageError: A size is less than 1, or `skip` has no hidden layer to go past.

    Example:
        >>> import jax
        >>> generator = mlp_generator(20, (2,))
        >>> params = jax.jit(generator.init)(jax.random.key(0))
        >>> generator.apply(params, jax.numpy.zeros((5, 20))).shape
        (5, 2)
    """
    _check(latent, classes, shape)
    inputs, outputs = latent + classes, math.prod(shape)
    layers = _perceptron((inputs, *hidden, outputs))
    if skip:
        if not hidden:
            raise UsageError("a skip connection goes past hidden layers: got none")
        *body, _ = layers
        layers = {"hidden": beside(sequential({name: layers[name] for name in body}))}
        layers["head"] = dense(hidden[-1] + inputs, outputs, weight_init=_HE)
    if bounded:
        layers["tanh"] = _TANH
    return labelled(sequential({**layers, "shape": reshape(*shape)}), classes)


def mlp_critic(
    shape: Sequence[int],
    *,
    hidden: Sequence[int] = (64, 64),
    classes: int = 0,
    waves: int = 0,
    lowest: float = 1.0,
    highest: float = 64.0,
) -> Model:
    r"""A perceptron from examples to scores.

    Args:
        shape: Shape of an example.
        hidden: Features of the hidden layers.
        classes: Number of classes; 0 for an unconditional critic.
        waves: Number of fixed frequencies beside the example; 0 for none.
        lowest: Smallest frequency, in radians a unit.
        highest: Largest frequency.

    Returns:
        A model `apply(params, x)` or, with classes, `apply(params, x, y)`: one score an example.
    """
    size = math.prod(shape)
    layers = {"flat": flatten(len(shape))}
    if waves:
        layers["waves"] = frequencies(size, waves, lowest, highest)
    return scored(
        sequential({**layers, **_perceptron((size + 2 * waves, *hidden, max(classes, 1)))}),
        classes,
    )


def dcgan_generator(latent: int, shape: Sequence[int], *, width: int = 64, classes: int = 0) -> Model:
    r"""A DCGAN-size generator: a product to a quarter of the size, then two transposed convolutions.

    Args:
        latent: Latent size.
        shape: Height, width and channels; 4 divides the first two (8x8, 28x28, 32x32).
        width: Features at half the size; twice as many at a quarter.
        classes: Number of classes; 0 for an unconditional generator.

    Returns:
        A model `apply(params, z)` or, with classes, `apply(params, z, y)`; examples are in [-1, 1].

    Raises:
        UsageError: A size is less than 1 or the images do not fit.

    References:
        Radford, Metz and Chintala, arXiv:1511.06434, figure 1 (without batch normalisation).
    """
    _check(latent, classes, shape)
    height, wide, channels = _image(shape)
    layers = {
        "project": dense(latent + classes, height * wide // 16 * 2 * width, weight_init=_HE),
        "shape": reshape(height // 4, wide // 4, 2 * width),
        "leaky0": leaky(),
        "up0": up(2 * width, width),
        "leaky1": leaky(),
        "up1": up(width, channels),
        "tanh": _TANH,
    }
    return labelled(sequential(layers), classes)


def dcgan_critic(shape: Sequence[int], *, width: int = 64, classes: int = 0) -> Model:
    r"""A DCGAN-size critic: two strided convolutions and a product.

    Args:
        shape: Height, width and channels; 4 divides the first two.
        width: Features at half the size; twice as many at a quarter.
        classes: Number of classes; 0 for an unconditional critic.

    Returns:
        A model `apply(params, x)` or, with classes, `apply(params, x, y)`: one score an example.

    Raises:
        UsageError: The images do not fit.
    """
    height, wide, channels = _image(shape)
    layers = {
        "down0": down(channels, width),
        "leaky0": leaky(),
        "down1": down(width, 2 * width),
        "leaky1": leaky(),
        "flat": flatten(3),
        "head": dense(height * wide // 16 * 2 * width, max(classes, 1), weight_init=_HE),
    }
    return scored(sequential(layers), classes)


def _block(features: int) -> Model:
    r"""$x + W_2 \phi(W_1 \phi(x))$ with $W_2 = 0$ at first, so that a deep stack starts as the identity."""
    zeros = jax.nn.initializers.zeros
    branch = sequential(
        {
            "leaky0": leaky(),
            "conv0": convolution(features, features, (3, 3)),
            "leaky1": leaky(),
            "conv1": convolution(features, features, (3, 3), weight_init=zeros),
        }
    )
    return residual(branch)


def residual_generator(
    latent: int, shape: Sequence[int], *, width: int = 32, blocks: int = 1, classes: int = 0
) -> Model:
    r"""A residual generator without normalisation: blocks at a quarter, at half and at full size.

    Args:
        latent: Latent size.
        shape: Height, width and channels; 4 divides the first two.
        width: Features at full size, doubled at half and at a quarter.
        blocks: Residual blocks at each size.
        classes: Number of classes; 0 for an unconditional generator.

    Returns:
        A model `apply(params, z)` or, with classes, `apply(params, z, y)`.

    Raises:
        UsageError: A size is less than 1 or the images do not fit.

    References:
        Huang et al. (R3GAN), arXiv:2501.05441, section 3.2: zero-initialised residual branches, no normalisation; its
        grouped bottlenecks are plain 3x3 convolutions here.
    """
    _check(latent, classes, shape)
    height, wide, channels = _image(shape)
    layers = {
        "project": dense(latent + classes, height * wide // 16 * 2 * width, weight_init=_HE),
        "shape": reshape(height // 4, wide // 4, 2 * width),
    }
    for level, features in enumerate((2 * width, 2 * width, width)):
        if level:
            layers[f"up{level - 1}"] = up(2 * width, features)
        layers |= {f"block{level}_{index}": _block(features) for index in range(blocks)}
    layers["image"] = convolution(width, channels, (3, 3))
    return labelled(sequential(layers), classes)


def residual_critic(shape: Sequence[int], *, width: int = 32, blocks: int = 1, classes: int = 0) -> Model:
    r"""A residual critic without normalisation, the mirror of `residual_generator`.

    Args:
        shape: Height, width and channels; 4 divides the first two.
        width: Features at full size, doubled at half and at a quarter.
        blocks: Residual blocks at each size.
        classes: Number of classes; 0 for an unconditional critic.

    Returns:
        A model `apply(params, x)` or, with classes, `apply(params, x, y)`: one score an example.

    Raises:
        UsageError: The images do not fit.
    """
    height, wide, channels = _image(shape)
    layers: dict[str, Model] = {"image": convolution(channels, width, (3, 3))}
    for level, features in enumerate((width, 2 * width, 2 * width)):
        if level:
            layers[f"down{level - 1}"] = down(width if level == 1 else 2 * width, features)
        layers |= {f"block{level}_{index}": _block(features) for index in range(blocks)}
    layers |= {"leaky": leaky(), "flat": flatten(3)}
    layers["head"] = dense(height * wide // 16 * 2 * width, max(classes, 1), weight_init=_HE)
    return scored(sequential(layers), classes)
