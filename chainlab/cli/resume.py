"""`chainlab resume`: continue a run from its latest checkpoint."""

import click

from chainlab.cli.common import json_option, run_argument, verb
from chainlab.cli.training import choose_device, device_option, launch, quiet_option


@verb("chainlab resume runs/mlp/20261124-101500-1a2b3c4d", "chainlab resume latest")
@run_argument
@device_option
@click.option("--until", type=click.IntRange(min=1), help="Stop after this step, with a checkpoint to resume from.")
@quiet_option
@json_option
def command(run: str, device: str | None, until: int | None, quiet: bool, as_json: bool) -> int:
    """Continue RUN from its latest checkpoint, to the same end as if it had never stopped."""
    choose_device(device)
    from chainlab.lab.run import resume
    from chainlab.lab.runs import find

    folder = find(run).path
    return launch(lambda: resume(folder, until=until, quiet=quiet), as_json=as_json)
