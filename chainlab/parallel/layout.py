"""The layout: where every array of a training problem lies on a mesh of devices."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from chainlab.errors import UsageError
from chainlab.parallel import ambient
from chainlab.parallel.config import AXES, MeshConfig
from chainlab.parallel.sharding import STACK, are_tokens, batch_specs, mixtures, names, state_specs

_WORK_ON_THE_BATCH = ("data", "fsdp", "expert")


@dataclass(frozen=True)
class Layout:
    """Where the arrays of one training problem lie on a mesh.

    Attributes:
        config: What was asked for.
        mesh: The devices, or only their arrangement (`AbstractMesh`) for planning.
        batch_axes: Mesh axes that divide the examples of a batch.
        sequence: Whether the `sequence` axis divides its tokens.
        idle: Axes for which the problem has nothing of their own; their devices divide the batch.
    """

    config: MeshConfig
    mesh: Any
    batch_axes: tuple[str, ...]
    sequence: bool
    idle: tuple[str, ...]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Devices along the axes that do their own work."""
        return {axis: size for axis, size in self.config.sizes.items() if axis not in self.idle}

    @property
    def whole(self) -> NamedSharding:
        """The sharding of an array that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def _shardings(self, specs: PyTree) -> PyTree:
        return jax.tree.map(
            lambda spec: NamedSharding(self.mesh, spec), specs, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec)
        )

    def state(self, tree: PyTree) -> PyTree:
        """The shardings of a state (or of its shapes)."""
        return self._shardings(state_specs(tree, self.sizes))

    def batch(self, tree: PyTree) -> PyTree:
        """The shardings of a batch (or of its shapes)."""
        return self._shardings(batch_specs(tree, self.batch_axes, self.sequence))

    def use(self) -> AbstractContextManager[None]:
        """A context in which programs are traced for this mesh."""
        return ambient.use(self.mesh, self.config)


def arrange(
    config: MeshConfig, state: PyTree, batch: PyTree, devices: Sequence[Any] | None = None, *, abstract: bool = False
) -> Layout:
    """Arrange a training problem on a mesh.

    The batch is divided over the axes `data`, `fsdp` and `expert`. An axis that a problem has no use for (`pipeline`
    without stacked layers, `sequence` without tokens, `expert` without a mixture, `tensor` without matrices) divides
    the batch too, so that any problem runs on any mesh and no device repeats another's work.

    Args:
        config: Devices along each axis.
        state: The state, or its shapes.
        batch: A batch, or its shapes.
        devices: The devices to use; the first ones that JAX finds by default.
        abstract: Arrange on no devices at all, for planning.

    Returns:
        The layout.

    Raises:
        UsageError: There are too few devices, or an axis divides neither what it is for nor the batch.
    """
    sizes = config.sizes
    tokens = are_tokens(batch)
    leaves = [(names(path), leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
    layers = [shape[0] for path, shape in leaves if STACK in path and shape]
    experts = _experts(state)
    matrices = sorted({leaf.shape for leaf in jax.tree.leaves(state) if len(leaf.shape) >= 2})
    useless = {
        "pipeline": not layers,
        "sequence": not tokens,
        "expert": not experts,
        "tensor": not matrices,
    }
    idle = tuple(axis for axis in AXES if sizes[axis] > 1 and useless.get(axis, False))
    problems: list[str] = []

    def check(axis: str, number: int, what: str) -> None:
        if number % sizes[axis]:
            fits = [size for size in range(1, number + 1) if number % size == 0]
            problems.append(f"mesh.{axis}={sizes[axis]} does not divide {what}: wanted one of {_few(fits)}")

    if not useless["pipeline"]:
        check("pipeline", layers[0], f"the {layers[0]} layers stacked under `{STACK}`")
    if not useless["sequence"]:
        length = jax.tree.leaves(batch)[0].shape[1]
        check("sequence", length, f"sequences of {length} tokens")
    if not useless["expert"]:
        check("expert", experts, f"the {experts} experts")
    if sizes["tensor"] > 1 and matrices and not _uses(state, sizes, "tensor"):
        shapes = ", ".join(str(list(shape)) for shape in matrices[:4])
        problems.append(f"mesh.tensor={sizes['tensor']} divides no matrix of this problem: the shapes are {shapes}")
    axes = tuple(axis for axis in AXES if sizes[axis] > 1 and (axis in _WORK_ON_THE_BATCH or axis in idle))
    parts = 1
    for axis in axes:
        parts *= sizes[axis]
    for number in sorted({leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.shape}):
        if number % parts:
            problems.append(
                f"the mesh divides the batch over {' x '.join(f'{axis}={sizes[axis]}' for axis in axes)} = {parts} "
                f"devices, got {number} examples: choose a batch_size that is a multiple of {parts}, or a smaller mesh"
            )
    if config.micro_batches and not useless["pipeline"] and sizes["pipeline"] > 1:
        number = jax.tree.leaves(batch)[0].shape[0]
        if number % (parts * config.micro_batches):
            problems.append(
                f"mesh.micro_batches={config.micro_batches} does not divide the {number // parts} examples that each "
                f"device has of a batch of {number}"
            )
    if problems:
        raise UsageError("\n".join(problems))
    return Layout(config, _mesh(config, devices, abstract=abstract), axes, tokens and sizes["sequence"] > 1, idle)


def _mesh(config: MeshConfig, devices: Sequence[Any] | None, *, abstract: bool) -> Any:
    kept = {axis: size for axis, size in config.sizes.items() if size > 1} or {"data": 1}
    kinds = (AxisType.Auto,) * len(kept)
    if abstract:
        return AbstractMesh(tuple(kept.values()), tuple(kept), axis_types=kinds)
    found = jax.devices() if devices is None else devices
    if config.devices > len(found):
        kind = found[0].platform if found else "none"
        hint = f", or simulate devices with --virtual-devices {config.devices}" if kind == "cpu" else ""
        text = " x ".join(f"{axis}={size}" for axis, size in kept.items())
        raise UsageError(
            f"mesh: {text} needs {config.devices} devices, found {len(found)} ({kind}): choose a smaller mesh{hint}"
        )
    mesh: Mesh = jax.make_mesh(tuple(kept.values()), tuple(kept), axis_types=kinds, devices=found[: config.devices])
    return mesh


def _experts(state: PyTree) -> int:
    """The number of experts of a state's mixtures; 0 without one."""
    mixed = mixtures(state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        keys = names(path)
        if "router" not in keys and len(leaf.shape) >= 3 and any(keys[: len(place)] == place for place in mixed):
            return int(leaf.shape[-3])
    return 0


def _uses(state: PyTree, sizes: Mapping[str, int], axis: str) -> bool:
    specs = jax.tree.leaves(state_specs(state, sizes), is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
    return any(axis in spec for spec in specs)


def _few(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
