"""`chainlab report`: write a run's report again, or one page over all runs."""

from pathlib import Path

import click

from chainlab.cli.common import json_option, out, run_argument, talk, verb


@verb(
    "chainlab report latest",
    "chainlab report runs/mlp/20261124-101500-1a2b3c4d --to digits.html",
    "chainlab report runs/            # a page over all runs: runs/index.html",
    "chainlab report runs/ --watch",
)
@run_argument
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option("--watch", is_flag=True, help="Keep the page over all runs current while runs write.")
@click.option(
    "--every", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="Seconds of --watch."
)
@json_option
def command(run: str, path: Path | None, watch: bool, every: float, as_json: bool) -> None:
    """Write the report of RUN, or a page over all runs of a folder: one HTML file that needs no network.

    RUN is a run folder, a part of a run's name that no other run has, or `latest`; its report is `report.html` in
    the run folder. For a folder of runs, such as `runs/` or a sweep, the page is `index.html` in it. --to names
    another file.
    """
    folder = Path(run)
    over_all = folder.is_dir() and not (folder / "run.json").exists()
    if watch and not over_all:
        raise click.UsageError("--watch is for a folder of runs, such as `chainlab report runs/ --watch`")
    if over_all:
        from chainlab.lab.report.overview import write_overview

        file = write_overview(folder, path, refresh=every if watch else None)
    else:
        from chainlab.lab.report.page import write
        from chainlab.lab.runs import find

        file = write(find(run).path, path)
    out({"report": str(file)} if as_json else str(file), as_json=as_json)
    if watch:
        _watch(folder, path, every)


def _watch(folder: Path, path: Path | None, every: float) -> None:
    from chainlab.lab.report.overview import watch_overview

    talk("watching; stop with Ctrl-C")
    try:
        watch_overview(folder, path, every=every)
    except KeyboardInterrupt:
        return
