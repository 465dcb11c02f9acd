"""`chainlab list`: what there is to run, and what has been run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import console, json_option, out, verb

if TYPE_CHECKING:
    from chainlab.lab.runs import RunFolder


@verb("chainlab list", "chainlab list runs", "chainlab list runs --json | jq -r '.runs[].path'")
@click.argument("what", type=click.Choice(["experiments", "configs", "runs"]), required=False)
@click.option(
    "--out", "root", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs."
)
@json_option
def command(what: str | None, root: Path, as_json: bool) -> None:
    """List experiments, packaged configs and the runs in this folder; or only one of the three."""
    from chainlab.lab.config import locate, reference
    from chainlab.lab.runs import everything

    found: dict[str, Any] = {}
    if what in (None, "experiments"):
        found["experiments"] = reference.names()
    if what in (None, "configs"):
        found["configs"] = locate.names()
    if what in (None, "runs"):
        found["runs"] = everything(root)
    if as_json:
        runs = {"runs": [_entry(run) for run in found["runs"]]} if "runs" in found else {}
        out(found | runs, as_json=True)
        return
    for section in ("experiments", "configs"):
        if section in found:
            click.echo(f"{section}:")
            click.echo("\n".join(f"  {name}" for name in found[section]) or "  none")
    if "runs" in found:
        _print(found["runs"], root)


def _entry(run: "RunFolder") -> dict[str, Any]:
    keys = ("status", "started", "seconds", "seeds", "final", "claims", "tags")
    return {"name": run.name, "path": str(run.path)} | {key: run.summary.get(key) for key in keys}


def _print(runs: "list[RunFolder]", root: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    if not runs:
        click.echo(f"runs:\n  none in {root}/")
        return
    table = Table("run", "status", "claims", "result", title="runs:", title_justify="left", box=None, pad_edge=False)
    for run in runs:
        claims = run.summary.get("claims") or []
        met = f"{sum(bool(claim['met']) for claim in claims)} of {len(claims)} met" if claims else ""
        table.add_row(*(Text(part) for part in (run.name, str(run.summary.get("status")), met, _result(run))))
    console().print(table)


def _result(run: "RunFolder") -> str:
    """The first test metric, else the first of any split."""
    from chainlab.lab.report.statistics import summarize

    names = sorted(run.final, key=lambda name: not name.startswith("test/"))
    return f"{names[0]} {summarize(run.final[names[0]])}" if names else ""
