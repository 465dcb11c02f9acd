"""`chainlab compare`: runs side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import console, json_option, out, runs_argument, talk, verb

if TYPE_CHECKING:
    from chainlab.lab.report.comparison import Comparison, Difference


@verb(
    "chainlab compare runs/mlp/*",
    "chainlab compare 1a2b3c4d latest --html comparison.html",
    "chainlab compare A B --json",
)
@runs_argument
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write one page with overlaid curves to this file.",
)
@json_option
def command(runs: tuple[str, ...], html: Path | None, as_json: bool) -> None:
    """Compare RUNs: their results, and what differs between their configs and environments."""
    from chainlab.lab.report.comparison import compare, write_comparison
    from chainlab.lab.runs import find

    comparison = compare([find(run) for run in runs])
    if as_json:
        out(_plain(comparison), as_json=True)
    else:
        _print(comparison)
    if html:
        talk(f"wrote {write_comparison(comparison, html)}")


def _plain(comparison: "Comparison") -> dict[str, Any]:
    def rows(differences: "list[Difference]") -> dict[str, Any]:
        return {each.key: list(each.values) for each in differences}

    return {
        "runs": [str(run.path) for run in comparison.runs],
        "results": {
            result.metric: [None if value is None else vars(value) for value in result.values]
            for result in comparison.results
        },
        "config": rows(list(comparison.config)),
        "environment": rows(list(comparison.environment)),
    }


def _print(comparison: "Comparison") -> None:
    from rich.table import Table
    from rich.text import Text

    printer = console()
    names = [run.name for run in comparison.runs]
    sections = (
        ("Results", [(result.metric, result.values) for result in comparison.results]),
        ("Config: what differs", [(row.key, row.values) for row in comparison.config]),
        ("Environment: what differs", [(row.key, row.values) for row in comparison.environment]),
    )
    for title, rows in sections:
        if not rows:
            continue
        table = Table("", title=title, title_justify="left", box=None, pad_edge=False)
        for name in names:
            table.add_column(Text(name), overflow="fold")
        for key, values in rows:
            table.add_row(Text(key), *(Text("–" if value is None else str(value)) for value in values))
        printer.print(table)
