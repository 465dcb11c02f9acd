"""Runs side by side: results, curves, and what differs between their configs and environments."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainlab.errors import UsageError
from chainlab.lab.report.figure import SERIES, overlaid
from chainlab.lab.report.page import order, render, save
from chainlab.lab.report.statistics import Summary, summarize
from chainlab.lab.runs import RunFolder


@dataclass(frozen=True)
class Result:
    """A metric over the runs.

    Attributes:
        metric: Its name, `split/name`.
        values: What each run got, or None where it has no such metric.
    """

    metric: str
    values: Sequence[Summary | None]


@dataclass(frozen=True)
class Difference:
    """An entry that is not the same in all runs.

    Attributes:
        key: Its dotted path.
        values: What each run has, or None where it has no such entry.
    """

    key: str
    values: Sequence[str | None]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: The runs.
        results: Their results.
        config: What differs between their configs.
        environment: What differs in versions, devices, code and data.
    """

    runs: Sequence[RunFolder]
    results: Sequence[Result]
    config: Sequence[Difference]
    environment: Sequence[Difference]


def compare(runs: Sequence[RunFolder]) -> Comparison:
    """Put runs side by side.

    Args:
        runs: Two runs or more.

    Returns:
        The comparison.

    Raises:
        UsageError: There are fewer than two runs, or a config cannot be read.
    """
    if len(runs) < 2:
        raise UsageError(f"compare needs two runs or more, got {len(runs)}")
    metrics = sorted({name for run in runs for name in run.final}, key=order)
    results = [
        Result(name, [summarize(run.final[name]) if run.final.get(name) else None for run in runs]) for name in metrics
    ]
    keys = ("versions", "platform", "devices", "cores", "xla_flags", "git", "data")
    environments = [{key: run.summary.get(key) for key in keys} for run in runs]
    return Comparison(runs, results, _differences([run.settings for run in runs]), _differences(environments))


def _differences(documents: Sequence[Any]) -> list[Difference]:
    flat = [dict(_flatten("", document)) for document in documents]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [Difference(key, [each.get(key) for each in flat]) for key in keys]
    return [row for row in rows if len(set(row.values)) > 1]


def _flatten(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [item for key, each in value.items() for item in _flatten(f"{path}.{key}" if path else str(key), each)]
    return [(path, str(value))]


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write a comparison as one HTML file with overlaid curves.

    Args:
        comparison: The runs side by side.
        path: The file to write.

    Returns:
        The file.
    """
    runs = comparison.runs
    colors = {run.name: color for run, color in zip(runs, itertools.cycle(SERIES), strict=False)}
    drawings: dict[str, str] = {}
    for name, split in ((name, split) for run in runs for name, splits in run.curves.items() for split in splits):
        title = f"{split}/{name}"
        if title not in drawings:
            having = {run.name: run.curves[name][split] for run in runs if split in run.curves.get(name, {})}
            drawings[title] = overlaid(title, having, colors)
    page = render("comparison.html.jinja", comparison=comparison, runs=runs, curves=drawings.items(), colors=colors)
    return save(page, path)
