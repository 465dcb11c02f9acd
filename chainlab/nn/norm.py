"""Normalisation layers; statistics are accumulated in float32 at least."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


def accumulator(dtype: DTypeLike) -> DTypeLike:
    """The type in which sums are taken: float32 for narrower types, else the type itself."""
    return dtype if jnp.dtype(dtype).itemsize >= 4 else jnp.float32


def standardize(x: Float[Array, "*batch dim"], *, epsilon: float = 1e-5) -> Float[Array, "*batch dim"]:
    r"""Zero mean and unit variance over the last axis, $(x - \mu) / \sqrt{\sigma^2 + \epsilon}$.

    Args:
        x: Input, features last.
        epsilon: Added to the variance.

    Returns:
        The standardised input, in its own type.
    """
    wide = x.astype(accumulator(x.dtype))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def root_mean_square(x: Float[Array, "*batch dim"], *, epsilon: float = 1e-6) -> Float[Array, "*batch dim"]:
    r"""Unit mean square over the last axis, $x / \sqrt{\overline{x^2} + \epsilon}$.

    Args:
        x: Input, features last.
        epsilon: Added to the mean square.

    Returns:
        The scaled input, in its own type.

    References:
        Zhang and Sennrich, Root Mean Square Layer Normalization, arXiv:1910.07467, equation 4.
    """
    wide = x.astype(accumulator(x.dtype))
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + epsilon)
    return (wide * scale).astype(x.dtype)


def layer_norm(dim: int, *, bias: bool = True, epsilon: float = 1e-5, dtype: DTypeLike = jnp.float32) -> Model:
    r"""Layer normalisation, $y = g \odot (x - \mu) / \sqrt{\sigma^2 + \epsilon} + b$.

    Args:
        dim: Number of features.
        bias: Whether there is a bias.
        epsilon: Added to the variance.
        dtype: Type of the parameters.

    Returns:
        A model with parameters `gain` and, when asked for, `bias`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = layer_norm(2)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.array([1.0, 3.0])).round(2).tolist()
        [-1.0, 1.0]

    References:
        Ba et al., Layer Normalization, arXiv:1607.06450, equation 3.
    """

    def init(key: PRNGKey) -> Params:
        del key
        params = {"gain": jnp.ones(dim, dtype)}
        return {"bias": jnp.zeros(dim, dtype), **params} if bias else params

    def apply(params: Params, x: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        y = standardize(x, epsilon=epsilon) * jnp.broadcast_to(params["gain"], x.shape)
        return y + jnp.broadcast_to(params["bias"], x.shape) if bias else y

    return Model(init, apply)


def rms_norm(dim: int, *, epsilon: float = 1e-6, dtype: DTypeLike = jnp.float32) -> Model:
    r"""Root-mean-square normalisation, $y = g \odot x / \sqrt{\overline{x^2} + \epsilon}$.

    Args:
        dim: Number of features.
        epsilon: Added to the mean square.
        dtype: Type of the parameters.

    Returns:
        A model with the parameter `gain`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = rms_norm(2)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.array([2.0, -2.0])).round(2).tolist()
        [1.0, -1.0]

    References:
        Zhang and Sennrich, Root Mean Square Layer Normalization, arXiv:1910.07467, equation 4.
    """

    def apply(params: Params, x: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        return root_mean_square(x, epsilon=epsilon) * jnp.broadcast_to(params["gain"], x.shape)

    return Model(lambda key: {"gain": jnp.ones(dim, dtype)}, apply)


def group_norm(dim: int, groups: int, *, epsilon: float = 1e-5, dtype: DTypeLike = jnp.float32) -> Model:
    r"""Group normalisation over space and the features of a group (features last).

    Args:
        dim: Number of features.
        groups: Number of groups; must divide `dim`.
        epsilon: Added to the variance.
        dtype: Type of the parameters.

    Returns:
        A model over inputs `(*batch, height, width, dim)` with parameters `gain` and `bias`.

    Raises:
        UsageError: `groups` does not divide `dim`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = group_norm(4, 2)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.ones((3, 8, 8, 4))).shape
        (3, 8, 8, 4)

    References:
        Wu and He, Group Normalization, arXiv:1803.08494, equation 7.
    """
    if dim % groups:
        raise UsageError(f"group_norm: groups must divide dim={dim}, got {groups}")

    def init(key: PRNGKey) -> Params:
        del key
        return {"bias": jnp.zeros(dim, dtype), "gain": jnp.ones(dim, dtype)}

    def apply(params: Params, x: Float[Array, "*batch height width dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        *batch, height, width, _ = x.shape
        grouped = jnp.moveaxis(x.reshape(*batch, height, width, groups, dim // groups), -2, -4)
        flat = grouped.reshape(*batch, groups, height * width * (dim // groups))
        y = standardize(flat, epsilon=epsilon).reshape(grouped.shape)
        y = jnp.moveaxis(y, -4, -2).reshape(x.shape)
        return y * jnp.broadcast_to(params["gain"], x.shape) + jnp.broadcast_to(params["bias"], x.shape)

    return Model(init, apply)
