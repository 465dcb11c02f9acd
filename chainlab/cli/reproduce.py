"""`chainlab reproduce`: run a run again and compare every number."""

from pathlib import Path

import click

from chainlab.cli.common import json_option, out, verb
from chainlab.cli.training import choose_device, device_option, quiet_option
from chainlab.errors import ReproductionError


@verb("chainlab reproduce runs/mlp/20261124-101500-1a2b3c4d")
@click.argument("run", type=click.Path(path_type=Path))
@device_option
@quiet_option
@json_option
def command(run: Path, device: str | None, quiet: bool, as_json: bool) -> int:
    """Run RUN (its folder) again from its config and seeds, and compare the two bit for bit.

    Exits with 4 when they differ, and names the first step and leaf that do.
    """
    choose_device(device)
    import dataclasses

    from chainlab.lab.reproduce import reproduce

    found = reproduce(run, quiet=quiet)
    if as_json:
        out(dataclasses.asdict(found), as_json=True)
        return 0 if found.identical else 4
    surroundings = "".join(f"\n  {line}" for line in found.conditions)
    if not found.identical:
        excuse = f"\nThe surroundings differ:{surroundings}" if surroundings else "\nThe surroundings are the same."
        raise ReproductionError(f"not reproduced: {found.first}{excuse}")
    out(
        f"identical: {found.compared} fingerprints and lines of metrics"
        + (surroundings and f", although{surroundings}")
    )
    return 0
