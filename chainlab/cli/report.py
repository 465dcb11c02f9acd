"""`chainlab report`: write a run's report again."""

from pathlib import Path

import click

from chainlab.cli.common import json_option, out, run_argument, verb


@verb("chainlab report latest", "chainlab report runs/mlp/20261124-101500-1a2b3c4d --to digits.html")
@run_argument
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@json_option
def command(run: str, path: Path | None, as_json: bool) -> None:
    """Write the report of RUN, one HTML file that needs no network.

    RUN is a run folder, a part of a run's name that no other run has, or `latest`. The file is `report.html` in
    the run folder unless --to names another.
    """
    from chainlab.lab.report.page import write
    from chainlab.lab.runs import find

    file = write(find(run).path, path)
    out({"report": str(file)} if as_json else str(file), as_json=as_json)
