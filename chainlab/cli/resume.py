"""`chainlab resume`: continue a run from its latest checkpoint."""

from pathlib import Path

import click

from chainlab.cli.common import json_option, verb
from chainlab.cli.training import choose_device, device_option, launch, quiet_option


@verb("chainlab resume runs/mlp/20261124-101500-1a2b3c4d")
@click.argument("run", type=click.Path(path_type=Path))
@device_option
@click.option("--until", type=click.IntRange(min=1), help="Stop after this step, with a checkpoint to resume from.")
@quiet_option
@json_option
def command(run: Path, device: str | None, until: int | None, quiet: bool, as_json: bool) -> int:
    """Continue RUN (its folder) from its latest checkpoint, to the same end as if it had never stopped."""
    choose_device(device)
    from chainlab.lab.run import resume

    return launch(lambda: resume(run, until=until, quiet=quiet), as_json=as_json)
