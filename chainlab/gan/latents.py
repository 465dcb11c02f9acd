"""Latent vectors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.typing import PRNGKey


def latent(normals: int, signs: int = 0) -> Callable[[PRNGKey, int], Float[Array, "batch latent"]]:
    r"""A sampler of latent vectors, $z = [n, s]$ with $n_i \sim N(0, 1)$ and $s_j = \pm 1$.

    A generator is continuous, so that a connected latent space leaves bridges between separate modes; the signs are
    $2^k$ separate points.

    Args:
        normals: Number of standard normal coordinates.
        signs: Number of fair random signs.

    Returns:
        `sample(key, count)`.

    Raises:
        UsageError: A number is negative, or there is no coordinate at all.

    Example:
        >>> import jax
        >>> latent(4, 16)(jax.random.key(0), 3).shape
        (3, 20)
    """
    if normals < 0 or signs < 0 or normals + signs == 0:
        raise UsageError(f"a latent space needs at least one coordinate, got normals={normals} and signs={signs}")

    def sample(key: PRNGKey, count: int) -> Float[Array, "batch latent"]:
        normal_key, sign_key = jax.random.split(key)
        parts = [
            jax.random.normal(normal_key, (count, normals)),
            jax.random.rademacher(sign_key, (count, signs), float),
        ]
        return jnp.concatenate(parts, axis=-1)

    return sample
