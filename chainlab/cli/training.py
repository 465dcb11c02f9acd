"""What the verbs that train share: seeds, device, output, and the table at the end."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chainlab.cli.common import console, out, talk
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.lab.config import Document
    from chainlab.lab.run import Run

_Function = TypeVar("_Function", bound=Callable[..., Any])


def seed_options(function: _Function) -> _Function:
    """`--seed` and `--seeds`."""
    function = click.option("--seeds", type=click.IntRange(min=1), help="Train this many seeds in one compile.")(
        function
    )
    return click.option("--seed", type=click.IntRange(min=0), help="The seed, or the first of the seeds.")(function)


def device_option(function: _Function) -> _Function:
    """`--device`."""
    choice = click.Choice(["cpu", "gpu", "tpu"])
    return click.option("--device", type=choice, help="Where to run; JAX's own choice by default.")(function)


def out_option(function: _Function) -> _Function:
    """`--out`, as `out`."""
    option = click.option(
        "--out",
        "out_",
        type=click.Path(path_type=Path),
        default=Path("runs"),
        show_default=True,
        help="Folder of runs.",
    )
    return option(function)


def quiet_option(function: _Function) -> _Function:
    """`-q`."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress.")(function)


def scale_options(function: _Function) -> _Function:
    """`--virtual-devices`, `--processes` and `--distributed`."""
    for option in (
        click.option("--distributed", is_flag=True, help="Join the processes of a cluster's job (SLURM, MPI, TPU)."),
        click.option("--processes", type=click.IntRange(min=1), help="Train in this many processes on this machine."),
        click.option(
            "--virtual-devices", type=click.IntRange(min=1), help="Simulate devices on the CPU, to test a `mesh:`."
        ),
    ):
        function = option(function)
    return function


def choose_device(device: str | None, virtual_devices: int | None = None, *, distributed: bool = False) -> None:
    """Set the platform, join the run's other processes and set the compile cache; call before any JAX computation.

    Args:
        device: `cpu`, `gpu`, `tpu`, or None for JAX's own choice.
        virtual_devices: Devices to simulate on the CPU, in all processes together.
        distributed: Whether the processes are those of a cluster's job.

    Raises:
        UsageError: JAX finds no such device.
    """
    import jax

    from chainlab.lab import processes
    from chainlab.lab.compilation import use_cache

    if virtual_devices:
        count = processes.count()
        if virtual_devices % count:
            raise UsageError(f"--virtual-devices {virtual_devices}: wanted a multiple of the {count} processes")
        jax.config.update("jax_num_cpu_devices", virtual_devices // count)
    if distributed:
        processes.join_cluster()
    else:
        processes.join()
    if device:
        jax.config.update("jax_platforms", {"gpu": "cuda,rocm"}.get(device, device))
        try:
            jax.devices()
        except RuntimeError as error:
            raise UsageError(f"--device {device}: JAX finds none ({error}); `chainlab doctor` lists devices") from error
    use_cache()


def document_of(
    config: str,
    overrides: Sequence[str],
    seed: int | None,
    seeds: int | None,
    device: str | None,
    virtual_devices: int | None = None,
    *,
    distributed: bool = False,
    tuned: bool = False,
) -> "Document":
    """The config of a training verb, with its options applied; the config is checked before JAX starts a device.

    With `tuned`, the process starts again under the settings that `chainlab tune` found to pay.
    """
    from chainlab.lab import tuning
    from chainlab.lab.config import load

    flags = [f"seed={seed}"] * (seed is not None) + [f"seeds={seeds}"] * (seeds is not None)
    document = load(config, [*overrides, *flags])
    if tuned and Path(sys.argv[0]).stem in ("chainlab", "__main__"):  # not from another program's process
        tuning.apply(document, sys.argv[1:])
    choose_device(device, virtual_devices, distributed=distributed)
    return document


def dry(document: "Document", *, as_json: bool) -> None:
    """Print a resolved config and the sizes of its run, from shapes alone."""
    from chainlab.lab.memory import memory_plan

    sizes = memory_plan(document.task(), document.envelope.replicas)
    if as_json:
        out({"config": document.values, "hash": document.hash, "sizes": sizes}, as_json=True)
        return
    out(document.to_yaml().rstrip())
    for name, size in sizes.items():
        talk(f"{name.removesuffix('_mib')}: {size:,.2f} MiB" if name.endswith("_mib") else f"{name}: {size:,}")


def launch(begin: "Callable[[], Run]", *, as_json: bool) -> int:
    """Run, print what came of it, and give the exit code."""
    from chainlab.lab import processes

    run = begin()
    if not processes.is_first():
        return run.exit_code
    if as_json:
        out({"run": str(run.folder), **run.summary}, as_json=True)
    else:
        _table(run)
    if run.summary["status"] != "done":
        talk(f"{run.summary['status']} at step {run.summary['step']}; continue with\n  chainlab resume {run.folder}")
    return run.exit_code


def _table(run: "Run") -> None:
    from rich.table import Table

    from chainlab.lab.report.statistics import summarize

    summary: Mapping[str, Any] = run.summary
    seeds = len(summary["seeds"])
    claims: dict[str, list[Any]] = {}  # several may speak of one metric
    for claim in summary.get("claims", []):
        claims.setdefault(claim["metric"], []).append(claim)
    table = Table("metric", "mean" if seeds > 1 else "value", title=f"{summary['experiment']}, {seeds} seed(s)")
    if seeds > 1:
        table.add_column("95 % interval")
    if claims:
        table.add_column("claimed")
        table.add_column("met")
    entries = {**summary["final"], **{name: summary[name] for name in claims if name in summary}}
    for name, value in entries.items():
        result = summarize(value if isinstance(value, list) else [value])
        row = [name, f"{result.mean:.5g}"]
        if seeds > 1:
            row.append("" if result.half_width is None else f"± {result.half_width:.2g}")
        if claims:
            own = claims.get(name, [])
            row += [", ".join(claim["goal"] for claim in own)]
            row += [("yes" if all(claim["met"] for claim in own) else "NO") if own else ""]
        table.add_row(*row)
    console().print(table)
    for name in (name for name in claims if name not in entries):
        talk(f"claimed, but not measured: {name}; the run gives {', '.join(summary['final']) or 'no metrics'}")
    out(f"run:    {run.folder}")
    if (run.folder / "report.html").exists():
        out(f"report: {run.folder / 'report.html'}")
