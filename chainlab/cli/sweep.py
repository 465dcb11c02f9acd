"""`chainlab sweep`: run every combination of a config's `sweep:`, or draws from its ranges."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import config_argument, console, json_option, out, overrides_argument, talk, verb
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.lab.config import Document
    from chainlab.lab.jobs import Job
    from chainlab.lab.sweep import Result, Work


@verb(
    "chainlab sweep mlp/digits --sweep optimizer.learning_rate=1e-3,1e-2 --sweep model.activation=relu,gelu",
    "chainlab sweep mine.yaml --workers 2",
    "chainlab sweep mine.yaml --together",
    "chainlab sweep mine.yaml --sweep 'optimizer.learning_rate=log_uniform(1e-4,1e-1)' --trials 30",
    "chainlab sweep mine.yaml search.sampler=tpe search.metric=validation/accuracy",
    "chainlab sweep mine.yaml --cluster dask --cluster-option address=tcp://scheduler:8786",
    "chainlab sweep mine.yaml --cluster slurm --cluster-option slurm_partition=gpu --cluster-option timeout_min=60",
)
@config_argument
@overrides_argument
@click.option("--sweep", "swept", multiple=True, metavar="KEY=V,V,...", help="Values of a key; may be repeated.")
@click.option("--trials", type=click.IntRange(min=1), help="Draw this many combinations instead of trying all.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Jobs side by side.")
@click.option("--together", is_flag=True, help="Train all jobs in one compile; the swept values must be numbers.")
@click.option("--cluster", type=click.Choice(["slurm", "local", "dask"]), help="Run each job as one of a cluster.")
@click.option(
    "--cluster-option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of submitit or Dask.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first job that fails.")
@click.option("--retry", is_flag=True, help="Run failed jobs again.")
@click.option(
    "--out",
    "root",
    type=click.Path(path_type=Path),
    default=Path("sweeps"),
    show_default=True,
    help="Folder of sweeps.",
)
@json_option
def command(
    config: str,
    overrides: tuple[str, ...],
    swept: tuple[str, ...],
    trials: int | None,
    workers: int,
    together: bool,
    cluster: str | None,
    options: tuple[str, ...],
    fail_fast: bool,
    retry: bool,
    root: Path,
    as_json: bool,
) -> int:
    """Run the jobs of CONFIG's `sweep:`, each into a run folder of its own.

    Lists are tried in every combination. Ranges, such as log_uniform(1e-4,1e-1), uniform(0,1) and integers(1,8), are
    drawn from, --trials times. The same command again finishes what is missing: jobs that are done are not repeated,
    and jobs that were killed continue from their checkpoints.
    """
    from chainlab.lab.config import load

    overrides = (*overrides, *_swept(swept), *([f"search.trials={trials}"] if trials else []))
    document = load(config, overrides)

    def tell(result: "Result", done: int, total: int) -> None:
        talk(f"{done}/{total} {result.status}: {_values(result)}" + (f"\n  {result.error}" if result.error else ""))

    search, folder = document.envelope.search, root / _name(document)
    learning = search is not None and (search.sampler != "random" or search.pruner != "none")
    given = {"--workers": workers > 1, "--together": together, "--cluster": cluster, "--retry": retry}
    if options and not cluster:
        raise UsageError(f"--cluster-option {options[0]}: wanted --cluster too, the cluster that it is an option of")
    if learning:
        _refuse(given, "a search that learns from its trials runs one after another")
        from chainlab.lab.search import search as run_search

        found = run_search(document, folder, overrides, fail_fast=fail_fast, tell=tell)
    else:
        from chainlab.lab.jobs import jobs
        from chainlab.lab.sweep import sweep

        wanted = jobs(document, overrides)
        if together:
            alone = {**given, "--together": False, "--fail-fast": fail_fast}
            _refuse(alone, "--together trains all jobs in one program")
            from chainlab.lab.together import train_together

            found = train_together(document, folder, wanted)
        else:
            if cluster:
                _refuse({"--workers": workers > 1}, "the cluster decides how many jobs run side by side")
            elsewhere = _cluster(cluster, options, folder) if cluster else None
            found = sweep(
                document,
                folder,
                wanted,
                workers=workers,
                fail_fast=fail_fast,
                retry=retry,
                run_all=elsewhere,
                tell=tell,
            )
    if as_json:
        out({"folder": str(folder), "jobs": [_row(result) for result in found]}, as_json=True)
    else:
        _print(found)
        out(f"sweep: {folder}")
    return 0 if all(result.status in ("done", "pruned") for result in found) else 1


def _refuse(given: Mapping[str, Any], why: str) -> None:
    """Refuse options that are given and would do nothing."""
    for option in (name for name, used in given.items() if used):
        raise UsageError(f"{option}: {why}")


def _cluster(cluster: str, options: tuple[str, ...], folder: Path) -> "Callable[[Sequence[Work]], Iterator[Job]]":
    from chainlab.lab.cluster import submit
    from chainlab.lab.config.source import parse

    pairs = [option.partition("=") for option in options]
    for option, (key, sign, _) in zip(options, pairs, strict=True):
        if not (key and sign):
            raise UsageError(f"--cluster-option {option!r}: wanted KEY=VALUE")
    parameters = {key: parse(value, f"--cluster-option {key}", []).plain() for key, _, value in pairs}
    return lambda todo: submit(todo, cluster, folder / "cluster", parameters)


def _swept(swept: tuple[str, ...]) -> list[str]:
    """`--sweep key=a,b` and `--sweep 'key=uniform(a,b)'` as overrides of `sweep:`; the values are YAML."""
    found: list[str] = []
    for text in swept:
        key, sign, values = text.partition("=")
        if not sign or not key or not values:
            raise UsageError(f"--sweep {text!r}: wanted KEY=VALUE,VALUE,... or KEY=log_uniform(LOW,HIGH)")
        drawn = re.fullmatch(r"\s*(uniform|log_uniform|integers)\((.*)\)\s*", values)
        found.append(f"{key!r}: {{{drawn[1]}: [{drawn[2]}]}}" if drawn else f"{key!r}: [{values}]")
    return [f"sweep={{{', '.join(found)}}}"] if found else []


def _values(result: "Result") -> str:
    return " ".join(f"{key}={value}" for key, value in result.job.values.items())


def _name(document: "Document") -> str:
    """The sweep's folder: the same for the same config and sweep, however many trials are drawn."""
    import hashlib

    search = {**(document.values["search"] or {}), "trials": None}
    identity = json.dumps([document.hash, document.values["sweep"], search])
    return f"{document.path.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


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
    keys = list(dict.fromkeys(key for result in found for key in result.job.values))
    table = Table(*keys, "status", *shown)
    for result in found:
        final = result.run.final if result.run else {}
        values = [f"{np.mean(final[name]):.5g}" if name in final else "" for name in shown]
        table.add_row(*(str(result.job.values.get(key, "")) for key in keys), result.status, *values)
    console().print(table)
    for result in found:
        if result.status == "failed" and result.run is not None:
            talk(f"failed: {_values(result)}\n  {result.error}\n  {result.run.path}; --retry runs it again")
