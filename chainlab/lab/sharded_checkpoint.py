"""Checkpoints of arrays that no process has whole: a folder written by Orbax, restored on any mesh."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from chainlab.errors import CheckpointError, MissingDependencyError


@dataclass(frozen=True)
class StoredArray:
    """An array in a checkpoint folder, not read yet.

    Attributes:
        folder: The checkpoint.
        place: Its name there.
        shape: Its shape.
        dtype: Its type.
    """

    folder: Path
    place: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The whole array on the host."""
        del copy
        return np.asarray(read([self], [None])[0], dtype)


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise MissingDependencyError("orbax-checkpoint", "sharded", "a checkpoint of a mesh") from error
    return orbax.checkpoint


def save(path: Path, leaves: Mapping[str, jax.Array], meta: Mapping[str, Any]) -> None:
    """Write leaves and metadata as one folder; every process of a run calls it and writes what it holds.

    Args:
        path: The folder; it appears under this name when all of it is written.
        leaves: Arrays by key path.
        meta: JSON values kept beside them.
    """
    orbax = _orbax()
    index = {name: [f"{i:05d}", str(leaf.dtype), list(leaf.shape)] for i, (name, leaf) in enumerate(leaves.items())}
    arrays = {index[name][0]: leaf for name, leaf in leaves.items()}
    with orbax.Checkpointer(orbax.CompositeCheckpointHandler()) as checkpointer:
        contents = orbax.args.Composite(
            arrays=orbax.args.PyTreeSave(arrays), meta=orbax.args.JsonSave({"meta": json.dumps(meta), "leaves": index})
        )
        checkpointer.save(path.absolute(), args=contents, force=True)


def load(path: Path) -> tuple[dict[str, StoredArray], dict[str, Any]]:
    """The leaves of a checkpoint folder by key path, unread, and the metadata.

    Args:
        path: The folder.

    Returns:
        The leaves and the metadata.

    Raises:
        CheckpointError: The folder holds no whole checkpoint.
    """
    orbax = _orbax()
    try:
        with orbax.Checkpointer(orbax.CompositeCheckpointHandler()) as checkpointer:
            contents = orbax.args.Composite(meta=orbax.args.JsonRestore())
            stored = checkpointer.restore(path.absolute(), args=contents)["meta"]
        leaves = {
            name: StoredArray(path, place, tuple(shape), np.dtype(dtype))
            for name, (place, dtype, shape) in stored["leaves"].items()
        }
        return leaves, json.loads(stored["meta"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint: {error}") from error


def read(stored: list[StoredArray], shardings: list[Any]) -> list[Any]:
    """Read arrays of one checkpoint; each device reads its own part.

    Args:
        stored: The arrays.
        shardings: Where each shall lie; None reads it whole, on the host.

    Returns:
        The arrays.

    Raises:
        CheckpointError: They cannot be read.
    """
    if not stored:
        return []
    orbax = _orbax()
    items: PyTree = {}
    options: PyTree = {}
    for one, sharding in zip(stored, shardings, strict=True):
        items[one.place] = jax.ShapeDtypeStruct(one.shape, one.dtype)
        options[one.place] = (
            orbax.RestoreArgs(restore_type=np.ndarray)
            if sharding is None
            else orbax.ArrayRestoreArgs(sharding=sharding, global_shape=one.shape, dtype=one.dtype)
        )
    folder = stored[0].folder.absolute()
    try:
        with orbax.Checkpointer(orbax.CompositeCheckpointHandler()) as checkpointer:
            wanted = orbax.args.PyTreeRestore(items, restore_args=options, partial_restore=True)
            found = checkpointer.restore(folder, args=orbax.args.Composite(arrays=wanted))["arrays"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: damaged: {error}") from error
    return [found[one.place] for one in stored]


def raw(tree: PyTree) -> dict[str, jax.Array]:
    """The leaves of a tree by key path, where they lie; random keys as their data."""
    return {
        jax.tree_util.keystr(path): jax.random.key_data(leaf)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
