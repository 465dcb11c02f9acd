"""Embedding tables."""

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, DTypeLike, Int

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


def embedding(size: int, dim: int, *, init: Initializer | None = None, dtype: DTypeLike = jnp.float32) -> Model:
    r"""A table of vectors, $y_i = E_{x_i}$.

    Args:
        size: Number of rows (the vocabulary).
        dim: Features of a row.
        init: Initialiser of the table (size, dim); standard normal by default.
        dtype: Type of the table.

    Returns:
        A model from integers `(*batch,)` to vectors `(*batch, dim)` with the parameter `table`.

    Raises:
        UsageError: A size is less than 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = embedding(10, 3)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.array([[1, 2]])).shape
        (1, 2, 3)
    """
    draw = init or jax.nn.initializers.normal(1.0)
    if size < 1 or dim < 1:
        raise UsageError(f"embedding needs size >= 1 and dim >= 1, got {size} and {dim}")

    def apply(params: Params, x: Int[Array, "*batch"], *, key: PRNGKey | None = None) -> Array:
        del key
        return params["table"][x]

    return Model(lambda key: {"table": draw(key, (size, dim), dtype)}, apply)
