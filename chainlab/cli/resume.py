"""`chainlab resume`: continue a run from its latest checkpoint."""

import sys

import click

from chainlab.cli.common import json_option, run_argument, verb
from chainlab.cli.training import choose_device, device_option, launch, quiet_option, scale_options


@verb(
    "chainlab resume runs/mlp/20261124-101500-1a2b3c4d",
    "chainlab resume latest --mesh '{data: 2, fsdp: 2}' --virtual-devices 4",
)
@run_argument
@click.option("--mesh", help="Continue on another mesh, such as '{data: 2}'; null is one device.")
@device_option
@scale_options
@click.option("--until", type=click.IntRange(min=1), help="Stop after this step, with a checkpoint to resume from.")
@quiet_option
@json_option
def command(
    run: str,
    mesh: str | None,
    device: str | None,
    virtual_devices: int | None,
    processes: int | None,
    distributed: bool,
    until: int | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Continue RUN from its latest checkpoint, to the same end as if it had never stopped."""
    from chainlab.lab.processes import launch as launch_processes
    from chainlab.lab.processes import started_for_a_run

    if processes and processes > 1 and not started_for_a_run():
        return launch_processes(sys.argv[1:], processes)
    choose_device(device, virtual_devices, distributed=distributed)
    from chainlab.lab.run import resume
    from chainlab.lab.runs import find

    folder = find(run).path
    overrides = [] if mesh is None else [f"mesh={mesh}"]
    return launch(lambda: resume(folder, until=until, quiet=quiet, overrides=overrides), as_json=as_json)
