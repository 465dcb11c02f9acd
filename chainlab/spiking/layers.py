"""Stateless layers that spiking networks need between neurons."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


@dataclass(frozen=True)
class Flattening:
    """That a layer merges its last axes.

    Attributes:
        axes: How many.
    """

    axes: int


@dataclass(frozen=True)
class Pooling:
    """That a layer sums over windows.

    Attributes:
        window: Height and width of a window, in pixels.
    """

    window: int


def copies(inputs: int, count: int) -> Model:
    r"""Each input to `count` units with a learnt gain and bias each, $y_{ij} = g_{ij} x_i + b_{ij}$.

    Before LIF neurons it is a learnt encoder: every copy fires in a different range of the signal.

    Args:
        inputs: Number of input features.
        count: Units for each.

    Returns:
        A model with `inputs * count` outputs and parameters `gain` and `bias`, standard normal at first.

    Raises:
        UsageError: A size is less than 1.

    Example:
        >>> layer = copies(2, 3)
        >>> layer.apply({"gain": jnp.ones(6), "bias": jnp.zeros(6)}, jnp.array([1.0, 2.0])).tolist()
        [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    """
    if inputs < 1 or count < 1:
        raise UsageError(f"copies needs inputs >= 1 and count >= 1, got {inputs} and {count}")
    size = inputs * count

    def init(key: PRNGKey) -> Params:
        gain, bias = jax.random.normal(key, (2, size))
        return {"bias": bias, "gain": gain}

    def apply(params: Params, x: Float[Array, "*batch inputs"], *, key: PRNGKey | None = None) -> Array:
        del key
        spread = jnp.repeat(x, count, axis=-1)
        axes = (1,) * (x.ndim - 1)
        return spread * params["gain"].reshape(*axes, size) + params["bias"].reshape(*axes, size)

    return Model(init, apply)


def flatten(axes: int = 3) -> Model:
    """The last axes as one axis of features, between spiking convolutions and a dense layer.

    Args:
        axes: How many axes to merge.

    Returns:
        A model without parameters.

    Example:
        >>> flatten(3).apply({}, jnp.zeros((5, 2, 3, 4))).shape
        (5, 24)
    """

    def apply(params: Params, x: Array, *, key: PRNGKey | None = None) -> Array:
        del params, key
        return x.reshape(*x.shape[:-axes], math.prod(x.shape[-axes:]))

    return Model(lambda key: {}, apply, Flattening(axes))


def sum_pool(window: int) -> Model:
    """Sums over windows of height and width that do not overlap (features last), as NIR's SumPool2d.

    Args:
        window: Height and width of a window, which must divide those of the input.

    Returns:
        A model without parameters.

    Raises:
        UsageError: The window does not divide the input.

    Example:
        >>> sum_pool(2).apply({}, jnp.ones((4, 4, 1)))[..., 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """

    def apply(params: Params, x: Float[Array, "*batch height width dim"], *, key: PRNGKey | None = None) -> Array:
        del params, key
        *batch, height, width, dim = x.shape
        if height % window or width % window:
            raise UsageError(f"sum_pool: a window of {window} must divide height and width, got shape {x.shape}")
        blocks = x.reshape(*batch, height // window, window, width // window, window, dim)
        return jnp.sum(blocks, axis=(-4, -2))

    return Model(lambda key: {}, apply, Pooling(window))
