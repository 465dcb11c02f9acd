"""The mesh as plain data; imports no JAX, so that a YAML file is checked without it."""

import math
from typing import Annotated, Literal

from annotated_types import Gt

from chainlab.declare import config

AXES = ("pipeline", "data", "fsdp", "expert", "sequence", "tensor")
"""Axes of a mesh, from those that talk least to those that talk most: neighbours are the closest devices."""

_Positive = Annotated[int, Gt(0)]


@config
class MeshConfig:
    """How many devices work along each axis; their product is the number of devices."""

    data: _Positive = 1
    """Devices that each take a part of the batch and hold everything else whole."""
    fsdp: _Positive = 1
    """Devices that each take a part of the batch and hold a part of every matrix, its gradient and its optimiser state
    (ZeRO stage 3)."""
    tensor: _Positive = 1
    """Devices that each compute a part of every matrix product."""
    sequence: _Positive = 1
    """Devices that each take a part of every sequence of tokens; attention goes around a ring."""
    expert: _Positive = 1
    """Devices that each hold some of the experts of a mixture, and take a part of the batch."""
    pipeline: _Positive = 1
    """Devices that each hold some of the stacked layers; micro-batches flow from one to the next."""
    micro_batches: _Positive | None = None
    """Parts of the batch in a pipeline; null takes up to four a stage."""
    schedule: Literal["gpipe", "1f1b"] = "gpipe"
    """gpipe runs all micro-batches forward and then back; 1f1b turns each back as soon as it is through, so that a
    stage keeps the inputs of at most two micro-batches a stage, and recomputes the rest."""

    @property
    def sizes(self) -> dict[str, int]:
        """Devices along each axis, in the mesh's order.

        Example:
            >>> {axis: size for axis, size in MeshConfig(data=4, tensor=2).sizes.items() if size > 1}
            {'data': 4, 'tensor': 2}
        """
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def devices(self) -> int:
        """Devices of the whole mesh.

        Example:
            >>> MeshConfig(data=4, tensor=2).devices
            8
        """
        return math.prod(self.sizes.values())
