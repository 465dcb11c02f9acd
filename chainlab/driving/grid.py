"""A bird's-eye grid in the vehicle's frame, and scattering into it by segment sums."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

SIZE = 16  # cells along and across
FORWARD, LEFT = 64.0, 16.0  # how far it reaches ahead and to either side, m
CELLS = SIZE * SIZE


def cell(forward: Float[Array, "*points"], left: Float[Array, "*points"]) -> Int[Array, "*points"]:
    """Index of the cell that holds a point; `CELLS` for points outside the grid.

    Args:
        forward: m.
        left: m.

    Returns:
        Indices, forward-major: cell 0 is nearest and rightmost.

    Example:
        >>> import jax.numpy as jnp
        >>> cell(jnp.array([0.5, 70.0]), jnp.array([-15.5, 0.0])).tolist()
        [0, 256]
    """
    row = jnp.floor(forward * (SIZE / FORWARD)).astype(jnp.int32)
    column = jnp.floor((left + LEFT) * (SIZE / (2 * LEFT))).astype(jnp.int32)
    inside = (row >= 0) & (row < SIZE) & (column >= 0) & (column < SIZE)
    return jnp.where(inside, row * SIZE + column, CELLS)


def centres() -> np.ndarray:
    """Centres of the cells and of the one outside (zero), forward and left in m: (257, 2)."""
    along = (np.arange(SIZE) + 0.5) * FORWARD / SIZE
    across = (np.arange(SIZE) + 0.5) * 2 * LEFT / SIZE - LEFT
    inside = np.stack(np.meshgrid(along, across, indexing="ij"), -1).reshape(-1, 2)
    return np.concatenate([inside, np.zeros((1, 2))])


def splat(values: Float[Array, "points dim"], index: Int[Array, " points"]) -> Float[Array, "rows columns dim"]:
    """Sum of the points' values in each cell; those outside are dropped.

    Args:
        values: One row a point.
        index: Cells, from `cell`.

    Returns:
        The grid, row 0 nearest.
    """
    total = jax.ops.segment_sum(values, index, CELLS + 1)[:CELLS]
    return total.reshape(SIZE, SIZE, values.shape[1])


def patches(grid: Float[Array, "batch rows columns dim"], size: tuple[int, int]) -> Float[Array, "batch count values"]:
    """Cut into patches, each flattened.

    Args:
        grid: Any picture, features last.
        size: Rows and columns of a patch; they divide the picture's.

    Returns:
        The patches row by row.
    """
    batch, rows, columns, dim = grid.shape
    high, wide = size
    cut = grid.reshape(batch, rows // high, high, columns // wide, wide, dim).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, (rows // high) * (columns // wide), high * wide * dim)
