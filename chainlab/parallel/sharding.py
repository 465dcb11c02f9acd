"""Which axis of which array is divided over which axis of the mesh."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

STACK = "blocks"
"""Parameters under this key have their layers stacked along the leading axis."""

_ROWS = ("out", "down")
_Path = tuple[str, ...]


def names(path: Sequence[Any]) -> _Path:
    """The keys of a path as text."""
    return tuple(str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path)


def mixtures(tree: PyTree) -> set[_Path]:
    """The paths of the mixtures of experts of a tree: the mappings that hold a `router`."""
    found = [names(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return {path[: path.index("router")] for path in found if "router" in path}


def row_parallel(path: _Path) -> bool:
    """Whether a layer's inputs are divided rather than its outputs.

    Layers alternate, so that a product over divided inputs follows one with divided outputs and only one sum over the
    devices is needed for the two: `out` and `down` of a transformer, and every other layer of `mlp`.

    References:
        Shoeybi et al., Megatron-LM, arXiv:1909.08053, section 3.
    """
    layer = path[-2] if len(path) > 1 else ""
    return layer in _ROWS or (layer.startswith("dense") and layer[5:].isdigit() and int(layer[5:]) % 2 == 1)


def leaf_spec(path: _Path, shape: Sequence[int], sizes: Mapping[str, int], experts: bool) -> PartitionSpec:
    """How one array of a state is divided: by layers, experts, the sides of its matrix, and the rest by FSDP.

    An axis that a mesh axis does not divide stays whole. Vectors are not divided by FSDP: they are small.

    Args:
        path: The keys that lead to the array.
        shape: Its shape.
        sizes: Devices along each axis of the mesh.
        experts: Whether it belongs to a mixture of experts.

    Returns:
        The mesh axis of each of its axes.

    Example:
        >>> sizes = {"pipeline": 2, "fsdp": 4, "tensor": 2}
        >>> tuple(leaf_spec(("params", "blocks", "0", "up", "weight"), (4, 64, 256), sizes, experts=False))
        ('pipeline', 'fsdp', 'tensor')
    """
    rank = len(shape)
    spec: list[str | None] = [None] * rank
    first = 1 if STACK in path and rank else 0

    def divide(place: int, axis: str) -> None:
        size = sizes.get(axis, 1)
        if size > 1 and spec[place] is None and shape[place] and shape[place] % size == 0:
            spec[place] = axis

    if first:
        divide(0, "pipeline")
    if experts and path[-2:-1] != ("router",) and rank - first >= 3:
        divide(rank - 3, "expert")
    if rank - first >= 2:
        divide(rank - 2 if row_parallel(path) else rank - 1, "tensor")
        free = [place for place in range(first, rank) if spec[place] is None]
        for place in sorted(free, key=lambda place: -shape[place]):
            if "fsdp" not in spec:
                divide(place, "fsdp")
    elif rank - first == 1 and path[-1] == "bias" and not row_parallel(path):
        divide(rank - 1, "tensor")
    return PartitionSpec(*spec)


def state_specs(tree: PyTree, sizes: Mapping[str, int]) -> PyTree:
    """How every array of a state is divided; optimiser moments lie under the keys of their parameters.

    Args:
        tree: The state, or its shapes.
        sizes: Devices along each axis of the mesh.

    Returns:
        The same tree of partition specs.
    """
    mixed = mixtures(tree)

    def one(path: Any, leaf: Any) -> PartitionSpec:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return PartitionSpec()
        keys = names(path)
        return leaf_spec(keys, leaf.shape, sizes, experts=any(keys[: len(place)] == place for place in mixed))

    return jax.tree_util.tree_map_with_path(one, tree)


def are_tokens(batch: PyTree) -> bool:
    """Whether a batch is one of token sequences: integer arrays (batch, seq) of one shape."""
    leaves = jax.tree.leaves(batch)
    shapes = {leaf.shape for leaf in leaves}
    whole = all(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in leaves)
    return bool(leaves) and whole and len(shapes) == 1 and len(leaves[0].shape) == 2


def batch_specs(batch: PyTree, axes: Sequence[str], sequence: bool) -> PyTree:
    """How a batch is divided: its examples, and its tokens where there are any.

    Args:
        batch: The batch, or its shapes.
        axes: Mesh axes that divide the examples.
        sequence: Whether the `sequence` axis divides the second axis.

    Returns:
        The same tree of partition specs.
    """

    def one(leaf: Any) -> PartitionSpec:
        if not leaf.shape or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return PartitionSpec()
        return PartitionSpec(tuple(axes), "sequence") if sequence else PartitionSpec(tuple(axes))

    return jax.tree.map(one, batch)
