"""Parameters as safetensors files, which PyTorch and most other programs open."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.errors import CheckpointError, UsageError


def dotted(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by dotted name.

    Args:
        tree: A tree of arrays or their shapes, such as parameters.

    Returns:
        Leaves by name: keys, indices and attributes joined by dots.

    Raises:
        UsageError: Two leaves have the same name.

    Example:
        >>> import jax.numpy as jnp
        >>> sorted(dotted({"layers": [{"weight": jnp.ones(2)}], "bias": jnp.zeros(1)}))
        ['bias', 'layers.0.weight']
    """
    named: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name in named:
            raise UsageError(f"two leaves are named {name!r}: rename a key that holds a dot")
        named[name] = leaf
    return named


def save_tensors(tree: PyTree, path: str | Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a tree as one safetensors file, whole or not at all.

    Args:
        tree: A tree of arrays.
        path: The file.
        metadata: Text kept in its header.

    Returns:
        The file.

    Raises:
        UsageError: Two leaves have the same dotted name, or one is a random key.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "params.safetensors"
        >>> save_tensors({"dense": {"bias": jnp.ones(2)}}, file).name
        'params.safetensors'
    """
    from safetensors.flax import save_file

    named = {name: jnp.asarray(leaf) for name, leaf in dotted(tree).items()}
    keys = [name for name, leaf in named.items() if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    if keys:
        raise UsageError(f"safetensors holds numbers, not random keys: {', '.join(keys)}; save jax.random.key_data")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(named, temporary, dict(metadata or {}))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    return temporary.replace(path)


def load_tensors(path: str | Path, like: PyTree | None = None) -> Any:
    """Read a safetensors file.

    Args:
        path: The file.
        like: A tree with the wanted structure, shapes and types (`jax.eval_shape(model.init, key)` gives one).

    Returns:
        A tree like `like`; without it, leaves by dotted name.

    Raises:
        CheckpointError: The file is damaged, or does not fit `like`; lists every leaf that is missing, not
            wanted, or of another shape or type.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "params.safetensors"
        >>> params = {"dense": {"bias": jnp.ones(2)}}
        >>> load_tensors(save_tensors(params, file))["dense.bias"].tolist()
        [1.0, 1.0]
        >>> load_tensors(file, params)["dense"]["bias"].tolist()
        [1.0, 1.0]
    """
    from safetensors import SafetensorError
    from safetensors.flax import load_file

    try:
        named = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from None
    if like is None:
        return named
    wanted = dotted(like)
    problems = [f"missing: {name} {_kind(leaf)}" for name, leaf in wanted.items() if name not in named]
    problems += [f"not wanted: {name} {_kind(leaf)}" for name, leaf in named.items() if name not in wanted]
    problems += [
        f"{name}: wanted {_kind(leaf)}, got {_kind(named[name])}"
        for name, leaf in wanted.items()
        if name in named and _kind(leaf) != _kind(named[name])
    ]
    if problems:
        raise CheckpointError("\n".join([f"{path} does not fit:", *(f"  {problem}" for problem in problems)]))
    return jax.tree.unflatten(jax.tree.structure(like), [named[name] for name in wanted])


def _kind(leaf: Any) -> str:
    return f"{jnp.dtype(leaf.dtype).name}{list(leaf.shape)}"
