"""Batches as a pure function of (arrays, key, position)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from chainlab.data.shuffle import permute
from chainlab.errors import DataError, UsageError
from chainlab.typing import Batch, PRNGKey


@dataclass(frozen=True)
class Origin:
    """Where the data came from; goes into the run's record."""

    name: str
    source: str = "generated"
    sha256: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Data:
    """Training batches by position, and evaluation splits.

    `plan(key, position)` says what batch number `position` holds (indices, starts, keys, ...) without
    touching the arrays; `gather(arrays, plan)` takes it out of them. The runner plans many positions at
    once and gathers inside the compiled step. Resuming needs the position alone.

    Attributes:
        arrays: Everything `gather` reads; moved to the device once.
        plan: `(key, position) -> plan`, pure.
        gather: `(arrays, plan) -> batch`, pure.
        splits: Evaluation sets by name (`validation`, `test`); each goes whole to `Task.evaluate`.
        steps_per_epoch: Batches in one pass over the data, where a pass is defined.
        origin: Where the data came from.
    """

    arrays: PyTree
    plan: Callable[[PRNGKey, Int[Array, ""]], PyTree]
    gather: Callable[[PyTree, PyTree], Batch]
    splits: Mapping[str, PyTree] = field(default_factory=dict)
    steps_per_epoch: int | None = None
    origin: Origin = Origin("unnamed")

    def batch(self, key: PRNGKey, position: int | Int[Array, ""]) -> Batch:
        """The batch at a position; the same key and position give the same batch."""
        return self.gather(self.arrays, self.plan(key, jnp.asarray(position, jnp.int32)))


def in_memory(
    arrays: PyTree,
    batch_size: int,
    *,
    splits: Mapping[str, PyTree] | None = None,
    origin: Origin = Origin("unnamed"),
    transform: Callable[[Batch], Batch] | None = None,
) -> Data:
    """Shuffled batches of arrays that fit in memory.

    Each epoch is a fresh permutation of the examples. The last `n mod batch_size` of an epoch's order are
    left out; they differ from epoch to epoch.

    Args:
        arrays: A pytree whose leaves share their leading axis, the examples.
        batch_size: Examples in a batch.
        splits: Evaluation sets by name, shaped like `arrays`.
        origin: Where the data came from.
        transform: Applied to each gathered batch on the device (scaling, decoding).

    Returns:
        The data.

    Raises:
        DataError: The leaves differ in their number of examples.
        UsageError: `batch_size` is less than 1 or more than the number of examples.

    Example:
        >>> import jax, numpy as np
        >>> data = in_memory({"x": np.arange(10)}, 5)
        >>> epoch = [data.batch(jax.random.key(0), step)["x"] for step in range(2)]
        >>> sorted(np.concatenate(epoch).tolist()) == list(range(10))
        True
    """
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(arrays)}
    if len(lengths) != 1:
        raise DataError(f"arrays must share their number of examples, got {sorted(lengths)}")
    (length,) = lengths
    if not 1 <= batch_size <= length:
        raise UsageError(f"batch_size must be in 1..{length} (the number of examples), got {batch_size}")
    steps = length // batch_size

    def plan(key: PRNGKey, position: Int[Array, ""]) -> Int[Array, " batch"]:
        epoch, slot = position // steps, position % steps
        index = slot * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
        return permute(index, length, jax.random.fold_in(key, epoch))

    def gather(source: PyTree, index: Int[Array, " batch"]) -> Batch:
        batch = jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), source)
        return transform(batch) if transform else batch

    return Data(arrays, plan, gather, splits or {}, steps, origin)


def sampled(
    sample: Callable[[PRNGKey], Batch],
    *,
    splits: Mapping[str, PyTree] | None = None,
    origin: Origin = Origin("unnamed"),
) -> Data:
    """Batches drawn afresh from a sampler: batch number `position` is `sample(fold_in(key, position))`.

    Args:
        sample: A pure function from a key to a batch.
        splits: Evaluation sets by name.
        origin: What is sampled.

    Returns:
        The data.

    Example:
        >>> import jax
        >>> data = sampled(lambda key: jax.random.normal(key, (3,)))
        >>> data.batch(jax.random.key(0), 7).shape
        (3,)
    """

    def gather(arrays: Any, key: PRNGKey) -> Batch:
        del arrays
        return sample(key)

    return Data((), jax.random.fold_in, gather, splits or {}, None, origin)
