"""Benchmarks against peers: equal results first, then interleaved rounds under one thread cap."""

import contextlib
import dataclasses
import datetime
import importlib
import logging
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainlab.lab.peers import PeerError, PeerMissingError, Worker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One measured figure of a benchmark and the goal it is held to.

    Attributes:
        claim: Identifier of the claim, `benchmark/detail`.
        case: What was measured, in words.
        value: The figure.
        goal: The bound as text, `>= 1.8` or `<= 10`, or an empty string for a figure without one.
        peers: The figure of each peer, None where the peer is missing on this machine.
        spread: Smallest and largest value over the rounds.
        note: What a reader must know.
    """

    claim: str
    case: str
    value: float | None
    goal: str = ""
    peers: Mapping[str, float | None] = field(default_factory=dict)
    spread: tuple[float, float] | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, False where the figure could not be measured."""
        if not self.goal:
            return None
        if self.value is None or not np.isfinite(self.value):
            return False
        sign, bound = self.goal.split()
        return {"<=": self.value <= float(bound), ">=": self.value >= float(bound)}[sign]


def interleave(workers: Mapping[str, Worker], *, rounds: int, repeat: int = 1) -> dict[str, list[dict[str, float]]]:
    """Time prepared workers in turn, reversing the order every other round.

    Args:
        workers: The prepared workers by name.
        rounds: Rounds; each worker is timed once in each.
        repeat: Steps a timing.

    Returns:
        The timings of each worker, one a round.
    """
    timings: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for turn in range(rounds):
        for name in list(workers)[:: 1 if turn % 2 == 0 else -1]:
            timings[name].append(workers[name].time(repeat))
        seconds = (f"{name} {rows[-1]['seconds']:.4g} s" for name, rows in timings.items())
        _log.info("round %d of %d: %s", turn + 1, rounds, ", ".join(seconds))
    return timings


def ratios(
    timings: Mapping[str, Sequence[Mapping[str, float]]], ours: str, quantity: str = "seconds"
) -> dict[str, tuple[float, float, float]]:
    """Speed of `ours` relative to every other worker, paired round by round.

    Args:
        timings: What `interleave` returned.
        ours: The worker whose speed is asked for.
        quantity: `seconds` or `cpu_seconds`.

    Returns:
        Median, smallest and largest of peer time / our time, by peer; above 1 means ours is faster.
    """
    result = {}
    for name, rows in timings.items():
        if name != ours:
            paired = [peer[quantity] / mine[quantity] for peer, mine in zip(rows, timings[ours], strict=True)]
            result[name] = (statistics.median(paired), min(paired), max(paired))
    return result


def compare(
    case: Mapping[str, Any],
    contenders: Mapping[str, tuple[Path, str]],
    *,
    ours: str,
    forms: Mapping[str, Mapping[str, Any]] | None = None,
    rounds: int = 7,
    repeat: int = 1,
    threads: int = 1,
    tolerance: float | None = 1e-4,
    variables: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, Any]], dict[str, str]]:
    """Prepare every contender on one case, check that their outputs agree, and time them interleaved.

    Args:
        case: The case, sent to every contender as JSON.
        contenders: Script and environment by name.
        ours: The contender that the others are compared with; it must run.
        forms: What a contender gets in its case beside what all get, by name.
        rounds: Rounds of timing.
        repeat: Steps a timing.
        threads: Thread cap of every contender.
        tolerance: Largest relative difference of the outputs from ours; None where they are not comparable.
        variables: Environment variables of a contender, by name.

    Returns:
        Timings by contender, what `prepare` answered by contender, and why a contender is missing.

    Raises:
        PeerError: Ours fails, or a peer's outputs differ.
    """
    workers: dict[str, Worker] = {}
    prepared: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for name, (script, environment) in contenders.items():
            _log.info("preparing %s", name)
            try:
                worker = Worker(script, environment, threads=threads, variables=(variables or {}).get(name))
                stack.callback(worker.close)
                prepared[name] = worker.prepare({**case, **(forms or {}).get(name, {})})
                workers[name] = worker
            except (PeerMissingError, PeerError) as error:
                if name == ours:
                    raise
                missing[name] = str(error)
                _log.info("missing %s: %s", name, str(error).strip().splitlines()[-1])
        if tolerance is not None:
            wanted = np.asarray(prepared[ours]["outputs"], float)
            for name in workers:
                got = np.asarray(prepared[name]["outputs"], float)
                worst = np.max(np.abs(got - wanted)) / max(np.max(np.abs(wanted)), 1e-30)
                if not worst <= tolerance:
                    raise PeerError(f"{name} computes something else than {ours}: relative difference {worst:.2e}")
        return interleave(workers, rounds=rounds, repeat=repeat), prepared, missing


def machine() -> dict[str, Any]:
    """What a figure was measured on: processor, cores this process may use, Python, and JAX's devices."""
    import jax

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "devices": [device.device_kind for device in jax.devices()],
    }


def remarks(row: Mapping[str, Any]) -> str:
    """What stands beside a figure: the peers' figures, unless its note tells them, and the note.

    Args:
        row: A row of what `run` returns.

    Returns:
        The remarks, on one line.

    Example:
        >>> remarks({"peers": {"eager": 4.75, "compiled": None}, "note": "in ms"})
        'eager 4.75, compiled missing; in ms'
        >>> remarks({"peers": {"eager": 4.75}, "note": "eager 4.75 ms"})
        'eager 4.75 ms'
    """
    untold = {name: value for name, value in row["peers"].items() if f"{name} " not in row["note"]}
    peers = (f"{name} {'missing' if value is None else f'{value:.4g}'}" for name, value in untold.items())
    return " ".join("; ".join(filter(None, [", ".join(peers), row["note"]])).split())


def names() -> list[str]:
    """The benchmarks that there are."""
    folder = Path(importlib.import_module("chainlab.experiments.benchmarks").__path__[0])
    found = (path.stem for path in folder.glob("*.py") if "\ndef bench(" in path.read_text())
    return sorted(name for name in found if "_" not in name)  # those with an underscore are parts of another


def run(name: str, rounds: int | None = None) -> dict[str, Any]:
    """Run a benchmark.

    Args:
        name: One of `names()`.
        rounds: Interleaved rounds; the benchmark's own number when None.

    Returns:
        `bench`, `date`, `machine`, and `rows` with every field of `Row` and `met`.
    """
    module = importlib.import_module(f"chainlab.experiments.benchmarks.{name}")
    rows: Iterable[Row] = module.bench() if rounds is None else module.bench(rounds)
    found: list[dict[str, Any]] = []
    for row in rows:  # as they come, where a benchmark yields them
        _log.info("%s: %s: %s", row.claim, row.case, "missing" if row.value is None else f"{row.value:.4g}")
        found.append({**dataclasses.asdict(row), "met": row.met})
    return {"bench": name, "date": datetime.date.today().isoformat(), "machine": machine(), "rows": found}
