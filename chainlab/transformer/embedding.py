"""From tokens to the residual stream."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.nn.dense import affine
from chainlab.nn.norm import root_mean_square
from chainlab.transformer.architecture import Architecture
from chainlab.transformer.backend import one_hot_embedding
from chainlab.typing import Params


def look_up(table: Float[Array, "vocabulary dim"], tokens: Int[Array, "*batch"]) -> Float[Array, "*batch dim"]:
    """Rows of a table, by a product with one-hot vectors where that has the faster gradient.

    Args:
        table: The embeddings.
        tokens: Indices of rows.

    Returns:
        The rows.
    """
    if one_hot_embedding(table.shape[0]):
        return affine(jax.nn.one_hot(tokens, table.shape[0], dtype=table.dtype), table)
    return table[tokens]


def embed(
    architecture: Architecture, params: Params, tokens: Int[Array, "batch seq"], position: Any = 0
) -> Float[Array, "batch seq dim"]:
    r"""The input of the first block, $x_t = E_{w_t} + P_t$, normalised where the architecture says so.

    Args:
        architecture: The shape.
        params: Parameters of the language model.
        tokens: The tokens.
        position: Position of the first one.

    Returns:
        The residual stream.
    """
    x = look_up(params["tokens"]["table"], tokens)
    if architecture.positions == "learned":
        rows = jax.lax.dynamic_slice_in_dim(params["positions"]["table"], position, tokens.shape[1])
        x = x + jnp.broadcast_to(rows, x.shape)
    return root_mean_square(x) if architecture.norm_embedding else x
