"""`chainlab run`: train what a config describes."""

import sys
from pathlib import Path

import click

from chainlab.cli.common import config_argument, json_option, overrides_argument, verb
from chainlab.cli.training import device_option, launch, out_option, quiet_option, scale_options, seed_options


@verb(
    "chainlab run mlp/digits",
    "chainlab run mlp/digits optimizer.learning_rate=1e-2 model.hidden='[64, 64]'",
    "chainlab run mine.yaml --seeds 8 --device gpu",
    "chainlab run mlp/digits --dry-run",
    "chainlab run transformer/digits 'mesh={data: 4, tensor: 2}' --virtual-devices 8 --processes 2",
)
@config_argument
@overrides_argument
@seed_options
@device_option
@scale_options
@out_option
@click.option("--until", type=click.IntRange(min=1), help="Stop after this step, with a checkpoint to resume from.")
@click.option("--dry-run", is_flag=True, help="Print the resolved config and the sizes; train and write nothing.")
@quiet_option
@json_option
def command(
    config: str,
    overrides: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
    device: str | None,
    virtual_devices: int | None,
    processes: int | None,
    distributed: bool,
    out_: Path,
    until: int | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train what CONFIG describes, into a new run folder.

    CONFIG is a file or the name of a packaged config. KEY=VALUE replaces a value of it.
    """
    from chainlab.cli.training import document_of, dry
    from chainlab.lab.processes import launch as launch_processes
    from chainlab.lab.processes import started_for_a_run

    if processes and processes > 1 and not dry_run and not started_for_a_run():
        return launch_processes(sys.argv[1:], processes)
    document = document_of(
        config, overrides, seed, seeds, device, virtual_devices, distributed=distributed, tuned=not dry_run
    )
    if dry_run:
        dry(document, as_json=as_json)
        return 0
    from chainlab.lab import run

    return launch(lambda: run.start(document, root=out_, until=until, quiet=quiet), as_json=as_json)
