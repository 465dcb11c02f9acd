"""`chainlab sweep`: run every combination of a config's `sweep:`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import config_argument, console, json_option, out, overrides_argument, talk, verb
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.lab.sweep import Result


@verb(
    "chainlab sweep mlp/digits --sweep optimizer.learning_rate=1e-3,1e-2 --sweep model.activation=relu,gelu",
    "chainlab sweep mine.yaml --workers 2",
    "chainlab sweep mine.yaml --together",
)
@config_argument
@overrides_argument
@click.option("--sweep", "swept", multiple=True, metavar="KEY=V,V,...", help="Values of a key; may be repeated.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Jobs side by side.")
@click.option("--together", is_flag=True, help="Train all jobs in one compile; the swept values must be numbers.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first job that fails.")
@click.option("--retry", is_flag=True, help="Run failed jobs again.")
@click.option("--out", "root", type=click.Path(path_type=Path), default=Path("sweeps"), help="Folder of sweeps.")
@json_option
def command(
    config: str,
    overrides: tuple[str, ...],
    swept: tuple[str, ...],
    workers: int,
    together: bool,
    fail_fast: bool,
    retry: bool,
    root: Path,
    as_json: bool,
) -> int:
    """Run every combination of CONFIG's `sweep:` lists, each into a run folder of its own.

    The same command again finishes what is missing: jobs that are done are not repeated, and jobs that were
    killed continue from their checkpoints.
    """
    from chainlab.lab.config import load
    from chainlab.lab.sweep import jobs, sweep

    overrides = (*overrides, *_lists(swept))
    document = load(config, overrides)
    wanted = jobs(document, overrides)
    folder = root / _name(document.path, [job.hash for job in wanted])

    def tell(result: "Result", done: int, total: int) -> None:
        values = " ".join(f"{key}={value}" for key, value in result.job.values.items())
        talk(f"{done}/{total} {result.status}: {values}" + (f"\n  {result.error}" if result.error else ""))

    if together:
        from chainlab.lab.together import train_together

        found = train_together(document, folder, wanted)
    else:
        found = sweep(document, folder, wanted, workers=workers, fail_fast=fail_fast, retry=retry, tell=tell)
    rows = [_row(result) for result in found]
    if as_json:
        out({"folder": str(folder), "jobs": rows}, as_json=True)
    else:
        _print(found)
        out(f"sweep: {folder}")
    return 0 if all(result.status == "done" for result in found) else 1


def _lists(swept: tuple[str, ...]) -> list[str]:
    """`--sweep key=a,b` as overrides of `sweep:`; the values are YAML."""
    found: list[str] = []
    for text in swept:
        key, sign, values = text.partition("=")
        if not sign or not key or not values:
            raise UsageError(f"--sweep {text!r}: wanted KEY=VALUE,VALUE,...")
        found.append(f"{{{key!r}: [{values}]}}")
    if not found:
        return []
    inside = ", ".join(part[1:-1] for part in found)
    return [f"sweep={{{inside}}}"]


def _name(path: Path, hashes: list[str]) -> str:
    import hashlib

    return f"{path.stem}-{hashlib.sha256(''.join(hashes).encode()).hexdigest()[:8]}"


def _row(result: "Result") -> dict[str, Any]:
    run = result.run
    return {
        "values": result.job.values,
        "status": result.status,
        "error": result.error,
        "run": str(run.path) if run else None,
        "final": run.final if run else {},
    }


def _print(found: "list[Result]") -> None:
    import numpy as np
    from rich.table import Table

    metrics = list(dict.fromkeys(name for result in found if result.run for name in result.run.final if "/" in name))
    shown = [name for name in metrics if not name.startswith("train/")] or metrics
    table = Table(*found[0].job.values, "status", *shown)
    for result in found:
        final = result.run.final if result.run else {}
        values = [f"{np.mean(final[name]):.5g}" if name in final else "" for name in shown]
        table.add_row(*(str(value) for value in result.job.values.values()), result.status, *values)
    console().print(table)
