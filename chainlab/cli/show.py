"""`chainlab show`: what a run recorded."""

from typing import TYPE_CHECKING

import click

from chainlab.cli.common import console, json_option, out, run_argument, verb

if TYPE_CHECKING:
    from chainlab.lab.runs import RunFolder


@verb("chainlab show latest", "chainlab show 1a2b3c4d --config", "chainlab show latest --json")
@run_argument
@click.option("--config", is_flag=True, help="Print the run's resolved config and nothing else.")
@json_option
def command(run: str, config: bool, as_json: bool) -> None:
    """Print what RUN recorded: status, claims, results and provenance."""
    from chainlab.lab.runs import find

    found = find(run)
    if config:
        click.echo(found.config, nl=False)
    elif as_json:
        out({"path": str(found.path), **found.summary}, as_json=True)
    else:
        _print(found)


def _print(run: "RunFolder") -> None:
    from rich.table import Table
    from rich.text import Text

    from chainlab.lab.report.page import cell, provenance
    from chainlab.lab.report.statistics import summarize

    printer = console()
    printer.print(f"{run.name}: {run.summary.get('status')}", style="bold", markup=False)
    if error := run.summary.get("error"):
        printer.print(error, markup=False)
    if claims := run.summary.get("claims"):
        table = Table("claim", "goal", "measured", "", box=None, pad_edge=False)
        for claim in claims:
            verdict = "met" if claim["met"] else "not met"
            table.add_row(*map(Text, (claim["metric"], claim["goal"], cell(claim["value"]), verdict)))
        printer.print(table)
    if run.final:
        table = Table("result", "mean over seeds", box=None, pad_edge=False)
        for name, values in run.final.items():
            table.add_row(*map(Text, (name, str(summarize(values)))))
        printer.print(table)
    facts = Table("", "", box=None, pad_edge=False, show_header=False)
    for name, value in [("Command", str(run.summary.get("command"))), *provenance(run)]:
        facts.add_row(Text(name), Text(value))
    printer.print(facts)
    report = run.path / "report.html"
    if report.is_file():
        printer.print(f"report: {report}", markup=False)
