"""`chainlab reproduce`: run a run again and compare every number."""

from pathlib import Path

from chainlab.cli.common import json_option, out, run_argument, verb
from chainlab.cli.training import choose_device, device_option, quiet_option
from chainlab.errors import ReproductionError


@verb(
    "chainlab reproduce runs/mlp/20261124-101500-1a2b3c4d",
    "chainlab reproduce latest",
    "chainlab reproduce mlp-20261124-101500-1a2b3c4d.zip     # what `chainlab export` wrote, on any machine",
)
@run_argument
@device_option
@quiet_option
@json_option
def command(run: str, device: str | None, quiet: bool, as_json: bool) -> int:
    """Run RUN again from what its folder or its archive holds, and compare the two bit for bit.

    Exits with 4 when they differ, and names the first step and leaf that do.
    """
    choose_device(device)
    import dataclasses

    from chainlab.lab.archive import is_archive
    from chainlab.lab.reproduce import reproduce
    from chainlab.lab.runs import find

    found = reproduce(Path(run) if is_archive(Path(run)) else find(run).path, quiet=quiet)
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
