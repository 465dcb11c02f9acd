"""`chainlab bench`: measure the project's claims of speed and memory against its peers."""

import logging
from pathlib import Path
from typing import Any

import click

from chainlab.cli.common import console, json_option, out, talk, verb
from chainlab.errors import UsageError


@verb("chainlab bench", "chainlab bench runner", "chainlab bench spiking --rounds 9 --json")
@click.argument("name", required=False)
@click.option("--rounds", type=click.IntRange(min=1), help="Interleaved rounds; its own number by default.")
@click.option("--record", type=click.Path(path_type=Path), help="Also keep the figures in this folder.")
@json_option
def command(name: str | None, rounds: int | None, record: Path | None, as_json: bool) -> int:
    """Measure benchmark NAME against its peers, interleaved; without a name, list the benchmarks.

    Peers run in environments of their own: `make peers` builds them, `$CHAINLAB_PEERS` names where they are. A
    peer that is missing is reported as missing, never as beaten. Exits with 3 when a goal is not met.
    """
    from chainlab.lab import bench

    names = bench.names()
    if name is None:
        out(names, as_json=True) if as_json else out("\n".join(names))
        return 0
    if name not in names:
        raise UsageError(f"no benchmark {name!r}; there are {', '.join(names)}")
    talk(f"measuring {name}: leave the machine alone meanwhile")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("chainlab.lab.bench").setLevel(logging.INFO)
    result = bench.run(name, rounds)
    if as_json:
        out(result, as_json=True)
    else:
        _print(result)
    if record is not None:
        from chainlab.lab.gallery import save_benchmark

        save_benchmark(result, record)
    return 0 if all(row["met"] is not False for row in result["rows"]) else 3


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    from chainlab.lab.bench import remarks

    table = Table("claim", "case", "value", "range", "goal", "met", title=f"{result['bench']}, {_machine(result)}")
    for row in result["rows"]:
        value = "missing" if row["value"] is None else f"{row['value']:.4g}"
        spread = "" if row["spread"] is None else f"{row['spread'][0]:.4g} .. {row['spread'][1]:.4g}"
        met = {True: "yes", False: "NO", None: ""}[row["met"]]
        case = row["case"] + (f"\n{beside}" if (beside := remarks(row)) else "")
        table.add_row(row["claim"], case, value, spread, row["goal"], met)
    console().print(table)


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, JAX {machine['jax']}"
