"""A pytree in a file, for what must survive a restart of a server or a node."""

import os
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree

from chainlab.errors import CheckpointError


def save_tree(path: Path, tree: PyTree) -> None:
    """Write a tree of arrays as safetensors: wholly, or not at all.

    Args:
        path: The file; it replaces an older one.
        tree: Arrays.
    """
    from safetensors.numpy import save_file

    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file({jax.tree_util.keystr(where): np.array(leaf, order="C") for where, leaf in leaves}, partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_tree(path: Path, like: PyTree) -> PyTree:
    """Read a tree of arrays.

    Args:
        path: The file.
        like: A tree (arrays or shapes) of the structure, shapes and types that it must have.

    Returns:
        The tree.

    Raises:
        CheckpointError: The file is damaged or holds another tree.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(where) for where, _ in leaves]
    if set(names) != set(found):
        odd = sorted(set(names) ^ set(found))
        raise CheckpointError(f"{path}: holds another state: {', '.join(odd[:5])} is in one and not in the other")
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if (found[name].shape, found[name].dtype) != (leaf.shape, leaf.dtype):
            raise CheckpointError(
                f"{path}: {name}: wanted {leaf.dtype}{list(leaf.shape)}, "
                f"got {found[name].dtype}{list(found[name].shape)}"
            )
    return structure.unflatten([found[name] for name in names])
