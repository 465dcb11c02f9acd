"""`chainlab list`: what there is to run, and what has been run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import OutputFile, console, json_option, out, talk, verb
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.lab.rows import Row

_SECTIONS = ("experiments", "configs", "runs")


@verb(
    "chainlab list",
    "chainlab list runs",
    "chainlab list experiment=spiking 'metrics.accuracy>0.9' --sort=-accuracy",
    "chainlab list status=failed --columns error",
    "chainlab list --out sweeps optimizer.learning_rate=1e-3 --to runs.parquet",
)
@click.argument("what", nargs=-1, metavar="[experiments|configs|runs] [FILTER...]")
@click.option(
    "--out", "root", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs."
)
@click.option("--sort", metavar="KEY", help="Sort runs by this key; --sort=-KEY puts the largest first.")
@click.option("--columns", metavar="KEY,KEY...", help="Keys to show instead of claims and result.")
@click.option("--keys", is_flag=True, help="List the keys that the runs have, for filters and columns.")
@click.option("--to", type=OutputFile(".parquet", ".csv"), help="Write every key to a .parquet or .csv.")
@click.option("--rebuild", is_flag=True, help="Read every run folder again instead of the index.")
@json_option
def command(
    what: tuple[str, ...],
    root: Path,
    sort: str | None,
    columns: str | None,
    keys: bool,
    to: Path | None,
    rebuild: bool,
    as_json: bool,
) -> None:
    """List experiments, packaged configs and the runs in this folder; or only one of the three.

    A FILTER is KEY, a sign (= != < <= > >= ~) and a value, and leaves the runs that meet it: KEY is what run.json
    holds, a metric (test results first), or a key of the config. `*` stands for any text after =, and ~ asks for
    text that is contained.
    """
    section = what[0] if what and what[0] in _SECTIONS else None
    filters = what[1:] if section else what
    if filters and section not in (None, "runs"):
        raise UsageError(f"{filters[0]!r}: filters are for runs")
    only_runs = filters or sort or columns or keys or to
    sections = (section,) if section else ("runs",) if only_runs else _SECTIONS
    found = _found(sections, root, filters, sort, rebuild)
    if to is not None:
        from chainlab.lab.frames import export

        export(found["runs"], to)
        talk(f"wrote {len(found['runs'])} runs to {to}")
    elif keys:
        names = list(dict.fromkeys(key for row in found["runs"] for key in row))
        out(names if as_json else "\n".join(names), as_json=as_json)
    elif as_json:
        out(found, as_json=True)
    else:
        _print(found, root, columns.split(",") if columns else [], filtered=bool(filters))


def _found(
    sections: tuple[str, ...], root: Path, filters: tuple[str, ...], sort: str | None, rebuild: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "experiments" in sections:
        from chainlab.lab.config import reference

        found["experiments"] = reference.names()
    if "configs" in sections:
        from chainlab.lab.config import locate

        found["configs"] = locate.names()
    if "runs" in sections:
        from chainlab.lab import index
        from chainlab.lab.filters import require, select, sort_rows

        rows = index.rows(root, rebuild=rebuild)
        if sort:
            require(sort.removeprefix("-"), rows)
            rows = sort_rows(rows, sort)
        found["runs"] = select(rows, filters)
    return found


def _print(found: dict[str, Any], root: Path, columns: list[str], *, filtered: bool) -> None:
    for section in ("experiments", "configs"):
        if section in found:
            click.echo(f"{section}:")
            click.echo("\n".join(f"  {name}" for name in found[section]) or "  none")
    if "runs" not in found:
        return
    if found["runs"]:
        _table(found["runs"], columns)
    else:
        click.echo(f"runs:\n  none in {root}/" + (" meet every filter" if filtered else ""))


def _table(rows: "list[Row]", columns: list[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from chainlab.lab.filters import require, resolve
    from chainlab.lab.report.page import cell

    for key in columns:
        require(key, rows)
    heads = columns or ["claims", "result (± deviation over seeds)"]
    table = Table("run", "status", title="runs:", title_justify="left", box=None, pad_edge=False)
    for head in heads:
        table.add_column(Text(head))
    for row in rows:
        if columns:
            keys = [resolve(key, row) for key in columns]
            values = [cell(row[key]) if key else "–" for key in keys]
        else:
            values = [str(row.get("claims", "")), _result(row)]
        table.add_row(*(Text(part) for part in (str(row["name"]), str(row.get("status")), *values)))
    console().print(table)


def _result(row: "Row") -> str:
    """The first test metric, else the first of any split."""
    from chainlab.lab.report.page import cell, order

    names = sorted((key.removeprefix("metrics.") for key in row if key.startswith("metrics.")), key=order)
    if not names:
        return ""
    spread = row.get(f"spread.{names[0]}")
    return f"{names[0]} {cell(row[f'metrics.{names[0]}'])}" + (f" ± {spread:.2g}" if spread is not None else "")
