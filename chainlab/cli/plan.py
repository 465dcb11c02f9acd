"""`chainlab plan`: what would it need on many devices?"""

from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import config_argument, console, json_option, out, overrides_argument, talk, verb

if TYPE_CHECKING:
    from chainlab.lab.plan import Plan


@verb(
    "chainlab plan transformer/digits --devices 8",
    "chainlab plan parallel/transformer_1b --devices 256",
    "chainlab plan parallel/transformer_100b --devices 4096 --flops 4e14 --bandwidth 5e10 --memory 8e10",
)
@config_argument
@overrides_argument
@click.option("--devices", type=click.IntRange(min=1), help="Devices; the mesh's data axis is stretched to them.")
@click.option(
    "--flops", type=click.FloatRange(0, min_open=True), default=4e14, show_default=True, help="Operations a second."
)
@click.option(
    "--utilisation",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.4,
    show_default=True,
    help="Share of them that matrix products reach.",
)
@click.option(
    "--bandwidth",
    type=click.FloatRange(0, min_open=True),
    default=5e10,
    show_default=True,
    help="Bytes a second that a device sends.",
)
@click.option(
    "--memory", type=click.FloatRange(0, min_open=True), default=8e10, show_default=True, help="Bytes of a device."
)
@json_option
def command(
    config: str,
    overrides: tuple[str, ...],
    devices: int | None,
    flops: float,
    utilisation: float,
    bandwidth: float,
    memory: float,
    as_json: bool,
) -> int:
    """Say what CONFIG needs on a mesh of devices that need not be there; exits with 1 when it does not fit.

    Memory, traffic and time of a training step, a device. The mesh is that of the config (or `mesh=...`); --devices
    stretches its data axis. Nothing is trained: sizes come from shapes, and what is temporary from XLA's plan of the
    same program on smaller meshes of virtual devices.
    """
    import jax

    from chainlab.lab.config import load
    from chainlab.lab.plan import Hardware, fill, plan, small_meshes
    from chainlab.parallel.config import MeshConfig

    document = load(config, overrides)
    mesh = document.envelope.mesh or MeshConfig()
    if devices is not None:
        mesh = fill(mesh, devices)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(small.devices for small in small_meshes(mesh)))
    experts: Any = getattr(getattr(document.config, "model", None), "experts", None)
    hardware = Hardware(flops, utilisation, bandwidth, memory)
    found = plan(document.task(), mesh, hardware, active_experts=getattr(experts, "active", 1))
    if as_json:
        out(found.to_json(), as_json=True)
    else:
        _table(document.name, found, hardware.memory)
    return 0 if found.fits else 1


def _table(name: str, found: "Plan", memory: float) -> None:
    from rich.table import Table

    mesh = " x ".join(f"{axis}={size}" for axis, size in found.mesh.items()) or "one device"
    title = f"{name}: {found.parameters:,} parameters on {found.devices:,} devices ({mesh})"
    table = Table("a device", "", title=title)
    table.add_column(justify="right")
    rows = [
        ("parameters", found.parameter_bytes, "B"),
        ("with the optimiser's state", found.state_bytes, "B"),
        ("its part of the batch", found.batch_bytes, "B"),
        ("activations, gradients, working space", found.temporary_bytes, "B"),
        ("memory in all", found.total_bytes, "B"),
        *((f"sent over {axis}", value, "B/step") for axis, value in found.traffic.items()),
        ("matrix products", found.flops / found.devices, "FLOP/step"),
    ]
    for label, value, unit in rows:
        table.add_row(label, unit, _short(value))
    table.add_row("pipeline's waiting", "x time", f"{found.bubble:.3f}")
    fast, slow = found.step_seconds
    table.add_row("time of a step", "s", f"{fast:.3g} (all sending hidden) to {slow:.3g} (none)")
    console().print(table)
    if not found.fits:
        talk(
            f"does not fit: {_short(found.total_bytes)}B of {_short(memory)}B; divide more (fsdp, tensor, pipeline), "
            "recompute (model.remat=full) or take a smaller batch"
        )


def _short(value: float) -> str:
    for power, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:.3g} {name}"
    return f"{value:.3g} "
