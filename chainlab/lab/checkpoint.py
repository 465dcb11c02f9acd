"""Checkpoints: one atomic file with a checksum, restored strictly."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
from flax import serialization
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten
from jaxtyping import PyTree

from chainlab.errors import CheckpointError
from chainlab.lab import sharded_checkpoint

_MAGIC = b"chainlab checkpoint 1\n"


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def leaves(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves of a tree on the host, by key path; random keys as their data."""
    found: dict[str, np.ndarray] = {}
    for path, leaf in tree_flatten_with_path(tree)[0]:
        array = jnp.asarray(leaf)
        found[keystr(path)] = np.asarray(jax.random.key_data(array) if _is_key(array) else array)
    return found


def fingerprint(tree: PyTree) -> str:
    """sha256 of a tree's leaves: their key paths, types, shapes and bytes.

    Args:
        tree: Any pytree of arrays.

    Returns:
        The digest in hexadecimal; equal trees have equal digests, bit for bit.

    Example:
        >>> import jax.numpy as jnp
        >>> fingerprint({"w": jnp.zeros(3)}) == fingerprint({"w": jnp.zeros(3)})
        True
    """
    digest = hashlib.sha256()
    for name, array in sorted(leaves(tree).items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """A file that takes another's place in one step: temporary file beside it, fsync, rename, fsync of the folder.

    Args:
        path: The file to replace; its folder must exist.

    Yields:
        The temporary file. When the block raises, it is removed and the old file stays.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file in one step; see `replacing`.

    Args:
        path: The file; its folder must exist.
        content: What it shall hold.
    """
    with replacing(path) as file:
        file.write(content)


def save(path: Path, tree: PyTree, meta: Mapping[str, Any]) -> None:
    """Write a tree and its metadata as one checkpoint file, leaf by leaf.

    Args:
        path: The file; replaced atomically.
        tree: Any pytree of arrays.
        meta: JSON values kept beside the arrays.
    """
    digest = hashlib.sha256()
    with replacing(path) as file:
        file.write(_MAGIC + digest.hexdigest().encode() + b"\n")  # of nothing yet; the place is filled in below
        for part in _serialized(leaves(tree), json.dumps(meta)):
            digest.update(part)
            file.write(part)
        file.seek(len(_MAGIC))
        file.write(digest.hexdigest().encode())


def _serialized(arrays: Mapping[str, np.ndarray], meta: str) -> Iterator[bytes]:
    """The parts of `serialization.msgpack_serialize({"meta": meta, "leaves": arrays})`, one array at a time."""
    packer = msgpack.Packer()
    yield packer.pack_map_header(2) + packer.pack("meta") + packer.pack(meta)
    yield packer.pack("leaves") + packer.pack_map_header(len(arrays))
    for name, array in arrays.items():
        yield packer.pack(name)
        yield serialization.msgpack_serialize(array)


def load(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Read a checkpoint without a template.

    Args:
        path: The file.

    Returns:
        The leaves by key path, and the metadata. Those of a folder (a run on a mesh) are read when they are used.

    Raises:
        CheckpointError: The file is missing, not a checkpoint, or damaged.
    """
    if path.is_dir():
        return sharded_checkpoint.load(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if not content.startswith(_MAGIC):
        raise CheckpointError(f"{path}: not a chainlab checkpoint (or an older format)")
    head, _, body = content[len(_MAGIC) :].partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != head:
        raise CheckpointError(f"{path}: damaged: its checksum is not that of its {len(body)} bytes")
    payload: dict[str, Any] = serialization.msgpack_restore(body)  # pyright: ignore[reportAssignmentType]
    return payload["leaves"], json.loads(payload["meta"])


def fit(stored: Mapping[str, Any], template: PyTree, *, source: str) -> PyTree:
    """Put leaves into the structure of a template; nothing is cast, filled in or left out.

    Args:
        stored: Leaves by key path.
        template: A tree of arrays or of `jax.ShapeDtypeStruct`; a leaf goes where its `sharding` says.
        source: What the leaves come from, for the error.

    Returns:
        A tree of the template's structure.

    Raises:
        CheckpointError: Lists every missing, extra and mismatched leaf.
    """
    paths, structure = tree_flatten_with_path(template)
    wanted = {keystr(path): leaf for path, leaf in paths}
    problems = [
        f"  extra     {name}: {array.dtype}{list(array.shape)}" for name, array in stored.items() if name not in wanted
    ]
    found: list[Any] = []
    for name, leaf in wanted.items():
        shape, dtype = tuple(leaf.shape), leaf.dtype
        if _is_key(leaf):
            data = jax.eval_shape(jax.random.key_data, leaf)
            shape, dtype = tuple(data.shape), data.dtype
        if name not in stored:
            problems.append(f"  missing   {name}: {dtype}{list(shape)}")
            continue
        array = stored[name]
        if tuple(array.shape) != shape or array.dtype != dtype:
            problems.append(f"  different {name}: wanted {dtype}{list(shape)}, got {array.dtype}{list(array.shape)}")
            continue
        found.append(array)
    if problems:
        raise CheckpointError(
            f"{source} does not fit this state ({len(problems)} leaves); was it written by another config?\n"
            + "\n".join(problems)
        )
    templates = list(wanted.values())
    if found and all(isinstance(array, sharded_checkpoint.StoredArray) for array in found):
        found = sharded_checkpoint.read(found, [getattr(leaf, "sharding", None) for leaf in templates])
    arrays = [jnp.asarray(array) for array in found]
    return tree_unflatten(
        structure,
        [_wrap(array, leaf.dtype) if _is_key(leaf) else array for array, leaf in zip(arrays, templates, strict=True)],
    )


def _wrap(data: Any, dtype: Any) -> Any:
    """Key data as random keys of a given key type."""
    names = ("threefry2x32", "rbg", "unsafe_rbg")
    name = next(name for name in names if jax.eval_shape(lambda name=name: jax.random.key(0, impl=name)).dtype == dtype)
    return jax.random.wrap_key_data(data, impl=name)


def restore(path: Path, template: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read a checkpoint into the structure of a template, strictly.

    Args:
        path: The file.
        template: A tree of arrays or of `jax.ShapeDtypeStruct`, e.g. from `jax.eval_shape(task.init, key)`.

    Returns:
        The tree and the metadata.

    Raises:
        CheckpointError: The file is damaged, or its leaves are not exactly the template's.

    Example:
        >>> import pathlib, tempfile, jax.numpy as jnp
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.ckpt"
        >>> save(file, {"w": jnp.ones(2)}, {"step": 7})
        >>> tree, meta = restore(file, {"w": jnp.zeros(2)})
        >>> tree["w"].tolist(), meta["step"]
        ([1.0, 1.0], 7)
    """
    stored, meta = load(path)
    return fit(stored, template, source=str(path)), meta


def write(path: Path, tree: PyTree, meta: Mapping[str, Any], *, on_mesh: bool) -> None:
    """Write a checkpoint: one file, or on a mesh a folder into which every process writes what it holds.

    Args:
        path: The file or folder; one of the other kind, from before the mesh changed, gives way to it.
        tree: Any pytree of arrays.
        meta: JSON values kept beside the arrays.
        on_mesh: Whether the arrays lie on a mesh.
    """
    other: Path | None = None
    if path.exists() and path.is_dir() != on_mesh and jax.process_index() == 0:
        other = path.rename(path.with_name(f".{path.name}.old"))
    if on_mesh:
        sharded_checkpoint.save(path, sharded_checkpoint.raw(tree), meta)
    else:
        save(path, tree, meta)
    if other is not None:
        shutil.rmtree(other) if other.is_dir() else other.unlink()
