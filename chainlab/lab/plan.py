"""What a config needs on a mesh that is not there: memory, traffic and time of a step."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.errors import UsageError
from chainlab.lab.memory import parameter_count, shapes
from chainlab.lab.sharded import shard
from chainlab.lab.task import Task
from chainlab.parallel.config import MeshConfig
from chainlab.parallel.flops import product_flops
from chainlab.parallel.layout import arrange
from chainlab.parallel.stages import micro_batches
from chainlab.parallel.traffic import step_traffic

_SMALL = {"data": 2, "fsdp": 4}
"""Most devices of the meshes that are compiled instead, along the axes whose devices do alike."""


@dataclass(frozen=True)
class Hardware:
    """What a step's time is estimated from.

    Attributes:
        flops: Operations a second of one device.
        utilisation: Share of them that the matrix products reach.
        bandwidth: Bytes a second that one device sends.
        memory: Bytes of one device.
    """

    flops: float = 400e12
    utilisation: float = 0.4
    bandwidth: float = 50e9
    memory: float = 80e9


@dataclass(frozen=True)
class Plan:
    """What one device needs in a training step; sizes in bytes, times in seconds.

    Attributes:
        mesh: Devices along each axis.
        devices: All of them.
        parameters: Numbers of the whole model.
        parameter_bytes: Parameters that a device holds.
        state_bytes: Parameters, optimiser state and whatever else it keeps from step to step.
        batch_bytes: Its part of the batch.
        temporary_bytes: Activations, gradients and working space at their peak.
        total_bytes: All of it.
        traffic: Bytes it sends, by mesh axis.
        flops: Operations of the matrix products of the whole step, on all devices together.
        bubble: Time of the pipeline over that of one that never waits.
        compute_seconds: Time of the products, with the bubble.
        traffic_seconds: Time of sending.
        fits: Whether a device's memory is enough.
    """

    mesh: Mapping[str, int]
    devices: int
    parameters: int
    parameter_bytes: int
    state_bytes: int
    batch_bytes: int
    temporary_bytes: int
    total_bytes: int
    traffic: Mapping[str, float]
    flops: float
    bubble: float
    compute_seconds: float
    traffic_seconds: float
    fits: bool

    @property
    def step_seconds(self) -> tuple[float, float]:
        """Time of a step when sending hides behind computing, and when nothing does."""
        slow = self.compute_seconds + self.traffic_seconds
        return max(self.compute_seconds, self.traffic_seconds), slow

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {**asdict(self), "step_seconds": list(self.step_seconds)}


def fill(config: MeshConfig, devices: int) -> MeshConfig:
    """The mesh with its `data` axis stretched to a number of devices.

    Args:
        config: The mesh; its `data` axis does not count.
        devices: Devices of the whole mesh.

    Returns:
        The mesh.

    Raises:
        UsageError: The other axes do not divide the devices.

    Example:
        >>> fill(MeshConfig(tensor=8), 1024).data
        128
    """
    others = config.devices // config.data
    if devices % others:
        raise UsageError(f"--devices {devices}: the mesh without its data axis has {others} devices, wanted a divisor")
    return replace(config, data=devices // others)


def small_meshes(config: MeshConfig) -> list[MeshConfig]:
    """The meshes that are compiled to learn what a device of a large one needs.

    Args:
        config: The large mesh.

    Returns:
        The same with `data` cut to 2 and `fsdp` to 4; where `fsdp` is cut, that with 2 as well, the smaller one first.

    Example:
        >>> [[mesh.fsdp for mesh in small_meshes(MeshConfig(fsdp=size))] for size in (4, 64)]
        [[4], [2, 4]]
    """
    small = replace(config, data=min(config.data, _SMALL["data"]), fsdp=min(config.fsdp, _SMALL["fsdp"]))
    return [replace(small, fsdp=small.fsdp // 2), small] if small.fsdp < config.fsdp else [small]


def compiled_memory(task: Task, config: MeshConfig, state: PyTree, batch: PyTree) -> dict[str, int]:
    """XLA's own plan of a training step on a mesh: bytes a device, without running anything.

    Args:
        task: The task.
        config: The mesh; as many devices must be there, virtual ones will do.
        state: Shapes of the state.
        batch: Shapes of the batch.

    Returns:
        `argument`, `output`, `alias`, `temporary`, and `total`, argument + output - alias + temporary.
    """
    layout = arrange(config, state, batch)
    place = lambda tree, where: jax.tree.map(  # noqa: E731
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree, where
    )
    with layout.use():
        step = jax.jit(shard(task, layout).step, donate_argnums=0)
        key = jax.eval_shape(lambda: jax.random.key(0))
        lowered = step.lower(place(state, layout.state(state)), place(batch, layout.batch(batch)), key)
        found: Any = lowered.compile().memory_analysis()
    sizes = {
        "argument": found.argument_size_in_bytes,
        "output": found.output_size_in_bytes,
        "alias": found.alias_size_in_bytes,
        "temporary": found.temp_size_in_bytes,
    }
    return {**sizes, "total": sizes["argument"] + sizes["output"] - sizes["alias"] + sizes["temporary"]}


def plan(task: Task, config: MeshConfig, hardware: Hardware, *, active_experts: int = 1) -> Plan:
    r"""What one device of a mesh needs in a training step.

    State and batch are counted from shapes and shardings. What is temporary comes from XLA's plan of the same program
    on small meshes of virtual devices with the same share of the batch on each. `data` is cut to 2, which changes
    nothing for a device. `fsdp` is cut to 2 and to 4, which give $a$ and $b$ of $a + b / n$: a device works on whole
    activations and on one whole layer, and holds an $n$-th of the gradients. The other axes are compiled as they are.

    Args:
        task: The task.
        config: The mesh.
        hardware: What the time is estimated from.
        active_experts: Experts that see each token.

    Returns:
        The plan.

    Raises:
        UsageError: The mesh does not fit the task, or its small forms need more virtual devices than there are.
    """
    state, batch = shapes(task)
    layout = arrange(config, state, batch, abstract=True)
    params = getattr(state, "params", state)
    parts = math.prod(config.sizes[axis] for axis in layout.batch_axes)
    temporary: list[tuple[int, int]] = []
    for small in small_meshes(config):
        fewer = math.prod(small.sizes[axis] for axis in layout.batch_axes)
        found = compiled_memory(task, small, state, _resize(batch, fewer / parts))
        temporary.append((small.fsdp, found["temporary"]))
    spare = _extrapolate(temporary, config.fsdp)
    kept, own = _held(layout.state(state), state), _held(layout.batch(batch), batch)
    traffic = step_traffic(layout, params, batch, active_experts=active_experts)
    flops = product_flops(task.step, state, batch, jax.eval_shape(lambda: jax.random.key(0)))
    stages, bubble = layout.sizes.get("pipeline", 1), 1.0
    if stages > 1:
        many = micro_batches(jax.tree.leaves(batch)[0].shape[0], stages, config.micro_batches)
        bubble = (many + stages - 1) / many
    total = kept + own + spare
    return Plan(
        mesh={axis: size for axis, size in config.sizes.items() if size > 1},
        devices=config.devices,
        parameters=parameter_count(state),
        parameter_bytes=_held(layout.state(params), params),
        state_bytes=kept,
        batch_bytes=own,
        temporary_bytes=spare,
        total_bytes=total,
        traffic=traffic,
        flops=flops,
        bubble=bubble,
        compute_seconds=bubble * flops / (config.devices * hardware.flops * hardware.utilisation),
        traffic_seconds=sum(traffic.values()) / hardware.bandwidth,
        fits=total <= hardware.memory,
    )


def _resize(batch: PyTree, factor: float) -> PyTree:
    """The shapes of a batch with more or fewer examples."""
    return jax.tree.map(
        lambda leaf: (
            jax.ShapeDtypeStruct((round(leaf.shape[0] * factor), *leaf.shape[1:]), leaf.dtype) if leaf.shape else leaf
        ),
        batch,
    )


def _held(places: PyTree, tree: PyTree) -> int:
    """Bytes of a tree that one device holds."""

    def one(place: Any, leaf: Any) -> int:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
            return math.prod(leaf.shape) * leaf.dtype.itemsize
        return math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize

    return sum(jax.tree.leaves(jax.tree.map(one, places, tree)))


def _extrapolate(points: list[tuple[int, int]], devices: int) -> int:
    """Bytes at a number of `fsdp` devices from those at one or two smaller numbers, as a + b / n."""
    if len(points) == 1:
        return points[0][1]
    (few, most), (many, least) = points
    divided = (most - least) / (1 / few - 1 / many)
    return max(0, round(least + divided * (1 / devices - 1 / many)))
