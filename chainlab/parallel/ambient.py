"""What code inside a traced program may ask about the mesh that it runs on."""

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

import jax

from chainlab.parallel.config import MeshConfig

_config: ContextVar[MeshConfig | None] = ContextVar("mesh", default=None)


def axis_size(axis: str) -> int:
    """Devices along an axis of the mesh in use (`jax.set_mesh`); 1 without a mesh or such an axis.

    Args:
        axis: Name of the axis.

    Returns:
        The devices. Inside a `shard_map` over the axis it is 1: there is nothing left to divide.

    Example:
        >>> axis_size("sequence")
        1
    """
    mesh = jax.sharding.get_abstract_mesh()
    if axis not in mesh.shape or axis in mesh.manual_axes:
        return 1
    return mesh.shape[axis]


def schedule() -> tuple[str, int | None]:
    """The pipeline's schedule and number of micro-batches (None: by itself) of the mesh in use."""
    config = _config.get()
    return ("gpipe", None) if config is None else (config.schedule, config.micro_batches)


@contextlib.contextmanager
def use(mesh: Any, config: MeshConfig) -> Generator[None]:
    """Run the block on a mesh."""
    token = _config.set(config)
    try:
        with jax.set_mesh(mesh):
            yield
    finally:
        _config.reset(token)
