"""Rotary positions."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.errors import UsageError
from chainlab.nn.norm import accumulator


def rotate(
    x: Float[Array, "*batch seq heads dim"], positions: Int[Array, " seq"], *, base: float = 10000.0
) -> Float[Array, "*batch seq heads dim"]:
    r"""Turn each pair of features by an angle proportional to the position (RoPE).

    $(y_i, y_{i+d/2}) = R(p\,\theta_i)\,(x_i, x_{i+d/2})$ with $\theta_i = b^{-2i/d}$, so that the product of a
    rotated query and key depends on the difference of their positions alone.

    Args:
        x: Queries or keys.
        positions: Position of each token.
        base: The base $b$ of the wavelengths.

    Returns:
        The rotated input, in its own type.

    Raises:
        UsageError: The number of features is odd.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones((1, 1, 2))
        >>> rotate(x, jnp.array([0])).tolist()
        [[[1.0, 1.0]]]

    References:
        Su et al., RoFormer, arXiv:2104.09864, equation 34.
    """
    if x.shape[-1] % 2:
        raise UsageError(f"rotate needs an even number of features, got shape {x.shape}")
    half = x.shape[-1] // 2
    wide = accumulator(x.dtype)
    frequencies = base ** (-jnp.arange(half, dtype=wide) / half)
    angles = (positions.astype(wide)[:, None] * frequencies[None, :])[:, None, :]
    cosine = jnp.broadcast_to(jnp.cos(angles), (*x.shape[:-1], half))
    sine = jnp.broadcast_to(jnp.sin(angles), (*x.shape[:-1], half))
    first, second = jnp.split(x.astype(wide), 2, axis=-1)
    turned = jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)
    return turned.astype(x.dtype)
