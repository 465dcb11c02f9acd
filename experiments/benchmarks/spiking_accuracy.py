"""Accuracy on real data beside classical classifiers on the same splits: part of the spiking benchmark.

    python -m chainlab.experiments.benchmarks.spiking_accuracy [braille] [digits] [fashion] [--runs N]

prints one table; with `--runs 0` that of the classical classifiers alone.
"""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainlab.errors import MissingDataError
from chainlab.lab.bench import Row


@dataclass(frozen=True)
class Case:
    """A packaged config and what it is held to.

    Attributes:
        title: The data set, in words.
        runs: Overrides and seed of each run.
        goal: Of the mean test accuracy.
        lowest: Of the lowest test accuracy, where there is one.
        seconds: Of the CPU seconds of the slowest run with compilation, where there is one.
    """

    title: str
    runs: tuple[tuple[tuple[str, ...], int], ...]
    goal: str
    lowest: str = ""
    seconds: str = ""


_SEEDS = tuple(((), seed) for seed in range(3))
CASES: Mapping[str, Case] = {
    "braille": Case(
        "Braille readings, 27 classes, 5 splits",
        tuple(((f"data.split={split}",), 0) for split in range(5)),
        ">= 0.99",
        lowest=">= 0.968",
        seconds="<= 30",
    ),
    "digits": Case("digits, 3 seeds", _SEEDS, ">= 0.95", seconds="<= 60"),
    "fashion": Case("Fashion-MNIST, latency code, 784-100-10, T=100, 3 seeds", _SEEDS, ">= 0.87"),
}


def rows(*names: str, most: int | None = None) -> list[Row]:
    """Train the packaged configs, and classical classifiers on the same splits.

    Args:
        names: Keys of `CASES`.
        most: Runs of each spiking network at most.

    Returns:
        Test accuracies and CPU seconds, with goals for the spiking networks' and none for the others'.
    """
    found: list[Row] = []
    for name in names:
        case = CASES[name]
        try:
            found += _spiking(name, case, case.runs[:most])
            found += _classical(name, case)
        except MissingDataError as error:
            note = str(error).splitlines()[0]
            found.append(Row(f"accuracy/{name}", f"{case.title}, mean test accuracy", None, case.goal, note=note))
    return found


def _spiking(name: str, case: Case, runs: Sequence[tuple[tuple[str, ...], int]]) -> list[Row]:
    if not runs:
        return []
    found = [_trained(f"spiking/{name}", overrides, seed) for overrides, seed in runs]
    accuracies, seconds = zip(*found, strict=True)
    claim, title, mean = f"accuracy/{name}", case.title, statistics.mean(accuracies)
    result = [Row(claim, f"{title}, mean test accuracy", mean, case.goal, spread=_range(accuracies))]
    if case.lowest:
        result.append(Row(f"{claim}-lowest", f"{title}, lowest test accuracy", min(accuracies), case.lowest))
    slowest = f"{title}, CPU seconds a run with compilation, slowest"
    return [*result, Row(f"{claim}-seconds", slowest, max(seconds), case.seconds, spread=_range(seconds))]


def _trained(name: str, overrides: Sequence[str], seed: int) -> tuple[float, float]:
    """Train a packaged config for one seed: test accuracy and CPU seconds."""
    import jax

    from chainlab.lab.config import load
    from chainlab.lab.loop import build

    began = time.process_time()
    document = load(name, list(overrides))
    task, steps = document.task(), document.envelope.run.steps
    loop = build(task, [seed], steps)
    replica, _ = loop.steps(loop.start(), 0, steps, jax.tree.map(jax.numpy.asarray, task.data.arrays))
    accuracy = float(loop.evaluate(replica, task.data.splits["test"])["accuracy"])
    return accuracy, time.process_time() - began


def _classical(name: str, case: Case) -> list[Row]:
    """Classical classifiers on every split of a case; seeds share one."""
    import numpy as np

    from chainlab import spiking
    from chainlab.lab.config import load

    fitted: list[Sequence[Mapping[str, Any]]] = []
    for overrides in dict.fromkeys(overrides for overrides, _ in case.runs):
        data = load(f"spiking/{name}", list(overrides)).task().data
        train = data.gather(data.arrays, np.arange(len(data.arrays["y"])))  # as the network sees them
        fitted.append(spiking.classical(train, data.splits["test"]))
    result: list[Row] = []
    for same in zip(*fitted, strict=True):
        accuracies = [float(row["test accuracy"]) for row in same]
        text = f"{case.title.split(',')[0]}, mean test accuracy of {same[0]['classifier']}"
        note = f"trained on {same[0]['trained on']} examples in {same[0]['seconds']} s"
        row = Row(f"accuracy/{name}-classical", text, statistics.mean(accuracies), spread=_range(accuracies), note=note)
        result.append(row)
    return result


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def main() -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description="Accuracy of spiking networks beside classical classifiers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--runs", type=int, help="runs of each spiking network at most")
    given = parser.parse_args()
    if unknown := set(given.names) - set(CASES):
        parser.error(f"unknown {', '.join(sorted(unknown))}; choose among {', '.join(CASES)}")
    table = Table("case", "value", "range", "goal", "note")
    for row in rows(*(given.names or CASES), most=given.runs):
        spread = "" if row.spread is None else f"{row.spread[0]:.4g} .. {row.spread[1]:.4g}"
        value = "missing" if row.value is None else f"{row.value:.4g}"
        table.add_row(row.case, value, spread, row.goal, row.note)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
