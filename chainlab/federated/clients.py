"""Clients of any size side by side in one set of arrays, without padding a client to the longest."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Shaped

from chainlab.errors import DataError, UsageError
from chainlab.typing import Batch


@jax.custom_batching.custom_vmap
def _row(leaf: Array, index: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False)


@_row.def_vmap
def _rows(size: int, batched: list[bool], leaf: Array, index: Int[Array, " size"]) -> tuple[Array, bool]:
    """Rows of clients side by side. A gather walks its elements on a CPU; a few slices are copied whole."""
    if batched[0] or not batched[1]:
        return jax.vmap(_row.fun, [0 if each else None for each in batched])(leaf, index), True
    if size > 16:
        return leaf[index], True
    return jnp.stack([_row.fun(leaf, index[each]) for each in range(size)]), True


@struct.dataclass
class Batches:
    """One client's batches: a window into arrays that hold every client's.

    Attributes:
        arrays: Leaves (batches, batch, ...), with `mask` (batches, batch): 1 for an example, 0 for the filling of a
            client's last batch.
        start: The client's first batch, an integer.
        count: Its number of batches; 0 for a client without data.
        examples: Its number of examples, a float.
        longest: Batches of the longest of all clients.
    """

    # Any: a pytree node also holds shapes, specs and batched leaves, which a run-time check would refuse.
    arrays: Mapping[str, Any]
    start: Any
    count: Any
    examples: Any
    longest: int = struct.field(pytree_node=False)

    def at(self, step: Int[Array, ""]) -> Batch:
        """The batch of a local step; after the last one comes the first again."""
        index = self.start + jax.lax.rem(jnp.asarray(step, self.count.dtype), self.count)
        return jax.tree.map(lambda leaf: _row(leaf, index), dict(self.arrays))


@struct.dataclass
class Clients:
    """The data of all clients, their batches laid end to end.

    Attributes:
        arrays: Leaves (batches, batch, ...), with `mask` (batches, batch).
        start: First batch of each client.
        count: Batches of each client.
        examples: Examples of each client.
        longest: Batches of the longest client; a constant, by which forms of the work are chosen.
    """

    # Quoted: a pytree node also holds shapes, specs and batched leaves, which a run-time check would refuse.
    arrays: Mapping[str, Any]
    start: 'Int[Array, " clients"]'
    count: 'Int[Array, " clients"]'
    examples: 'Float[Array, " clients"]'
    longest: int = struct.field(pytree_node=False)

    @property
    def number(self) -> int:
        """Number of clients."""
        return self.start.shape[0]

    def of(self, client: Int[Array, ""]) -> Batches:
        """The batches of one client."""
        return Batches(self.arrays, self.start[client], self.count[client], self.examples[client], self.longest)


def lay_out(
    arrays: Mapping[str, Shaped[np.ndarray, "..."]],
    parts: Sequence[Int[np.ndarray, " _"]],
    batch_size: int,
    *,
    seed: int = 0,
) -> Clients:
    """Give every client its examples, shuffled once and cut into batches.

    Only a client's last batch is filled up (with copies of its first example, masked), so that the work of a round
    is the sum of the clients' steps and not their number times the longest.

    Args:
        arrays: Leaves with a leading axis of examples, such as `x` and `y`.
        parts: Indices of each client's examples. A client may have none: the server then rejects its update.
        batch_size: Examples in a batch.
        seed: Shuffles each client's examples.

    Returns:
        The clients.

    Raises:
        UsageError: There is no client, `batch_size` is less than 1, or a leaf is called `mask`.
        DataError: The leaves differ in their number of examples, no client has any, or an index is out of range.

    Example:
        >>> clients = lay_out({"x": np.arange(5.0)}, [np.array([0, 1, 2]), np.array([3, 4])], batch_size=2)
        >>> clients.count.tolist(), clients.arrays["mask"].tolist()
        ([2, 1], [[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    """
    if not parts or batch_size < 1:
        raise UsageError(f"lay_out: wanted a client and a batch_size >= 1, got {len(parts)} and {batch_size}")
    if "mask" in arrays:
        raise UsageError("lay_out: `mask` is the name of the layout's own leaf, rename this one")
    lengths = {name: len(leaf) for name, leaf in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"lay_out: wanted leaves with as many examples each, got {lengths}")
    total = next(iter(lengths.values()))
    rng = np.random.default_rng(seed)
    rows: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for client, part in enumerate(parts):
        if len(part) == 0:
            continue
        if np.min(part) < 0 or np.max(part) >= total:
            raise DataError(f"lay_out: client {client}: wanted indices in 0..{total - 1}, got {np.min(part)} or more")
        order = rng.permutation(part)
        filling = -len(part) % batch_size
        rows.append(np.concatenate([order, np.repeat(order[:1], filling)]).reshape(-1, batch_size))
        masks.append((np.arange(rows[-1].size) < len(part)).reshape(-1, batch_size))
    if not rows:
        raise DataError(f"lay_out: none of the {len(parts)} clients has an example")
    index = np.concatenate(rows)
    counts = np.array([-(-len(part) // batch_size) for part in parts], np.int32)
    return Clients(
        arrays={
            **{name: leaf[index] for name, leaf in arrays.items()},
            "mask": np.concatenate(masks).astype(np.float32),
        },
        start=jnp.asarray(np.concatenate([[0], np.cumsum(counts)[:-1]]), jnp.int32),
        count=jnp.asarray(counts),
        examples=jnp.asarray([len(part) for part in parts], jnp.float32),
        longest=int(np.max(counts)),
    )


def masked_mean(values: Float[Array, " batch"], mask: Float[Array, " batch"]) -> Float[Array, ""]:
    r"""The mean over the examples of a batch that are there, $\sum_i m_i v_i / \sum_i m_i$.

    Args:
        values: One value an example.
        mask: 1 for an example, 0 for filling.

    Returns:
        The mean; 0 for a batch of nothing but filling.

    Example:
        >>> float(masked_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([1.0, 1.0, 0.0])))
        2.0
    """
    weights = mask.astype(values.dtype)
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1)
