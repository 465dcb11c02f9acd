"""Run folders as they lie on disk: found by path or name, and read without JAX."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from chainlab.errors import UsageError


@dataclass(frozen=True)
class Curve:
    """A metric over the steps.

    Attributes:
        steps: Where it was measured.
        values: What it was, one column a seed.
    """

    steps: Float[np.ndarray, " points"]
    values: Float[np.ndarray, "points seeds"]


@dataclass(frozen=True)
class RunFolder:
    """What a run wrote.

    Attributes:
        path: The run folder.
        summary: What `run.json` holds.
    """

    path: Path
    summary: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`<experiment>/<time>-<confighash8>`."""
        return f"{self.path.absolute().parent.name}/{self.path.absolute().name}"

    @property
    def config(self) -> str:
        """The resolved config, as YAML."""
        file = self.path / "config.yaml"
        return file.read_text() if file.is_file() else ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved config as plain data; empty where the run has none."""
        from chainlab.lab.config.source import SourceError, parse

        file = self.path / "config.yaml"
        try:
            found = parse(self.config, str(file), []).plain() or {}
        except SourceError as error:
            raise UsageError(f"{file}: not readable as YAML: {error}") from None
        if not isinstance(found, dict):
            raise UsageError(f"{file}: wanted a mapping, got a {type(found).__name__}")
        return found

    @property
    def seeds(self) -> Sequence[int]:
        """The run's seeds."""
        return list(self.summary.get("seeds") or [0])

    @property
    def final(self) -> dict[str, list[float]]:
        """The run's results by `split/name`, one value a seed."""
        return {name: _by_seed(value) for name, value in (self.summary.get("final") or {}).items()}

    @cached_property
    def curves(self) -> dict[str, dict[str, Curve]]:
        """Curves by metric and split, from `metrics.jsonl`; a last line cut short by a crash is left out."""
        file = self.path / "metrics.jsonl"
        points: dict[tuple[str, str], tuple[list[int], list[list[float]]]] = {}
        lines = file.read_text().splitlines() if file.is_file() else []
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
                step, split, metrics = int(line["step"]), str(line["split"]), dict(line["metrics"])
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):
                    break
                raise UsageError(f"{file}:{number}: not a line of metrics: {error}") from None
            for name, value in metrics.items():
                steps, values = points.setdefault((name, split), ([], []))
                steps.append(step)
                values.append(_by_seed(value))
        curves: dict[str, dict[str, Curve]] = {}
        for (name, split), (steps, values) in points.items():
            curves.setdefault(name, {})[split] = Curve(np.asarray(steps, float), np.asarray(values, float))
        return curves


def _by_seed(value: Any) -> list[float]:
    """One value a seed, from a list or the single seed's number."""
    return [float(each) for each in (value if isinstance(value, list) else [value])]


def read(path: Path) -> RunFolder:
    """Read a run folder.

    Args:
        path: The folder.

    Returns:
        What the run wrote.

    Raises:
        UsageError: The folder holds no readable `run.json`.
    """
    try:
        summary = json.loads((path / "run.json").read_text())
        if not isinstance(summary, dict):
            raise ValueError(f"wanted an object, got a {type(summary).__name__}")
    except FileNotFoundError:
        raise UsageError(f"{path} is not a run folder: no run.json; `chainlab list runs` lists runs") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a run folder: run.json: {error}") from None
    return RunFolder(path, summary)


def folders(root: Path) -> Iterator[Path]:
    """Every run folder below a folder, at any depth: `runs/` and `sweeps/` alike; runs hold no other runs.

    Args:
        root: Where to look.

    Yields:
        The folders, in no order.
    """
    for folder, inner, files in os.walk(root):
        if "run.json" in files:
            inner.clear()
            yield Path(folder)


def everything(root: Path = Path("runs")) -> list[RunFolder]:
    """All runs below a folder, the oldest first.

    Args:
        root: Where runs are kept.

    Returns:
        The runs; folders that cannot be read are left out.
    """
    found: list[RunFolder] = []
    for folder in folders(root):
        try:
            found.append(read(folder))
        except UsageError:
            continue
    return sorted(found, key=lambda run: (run.summary.get("started") or "", run.path.name))


def find(run: str | Path, root: Path = Path("runs")) -> RunFolder:
    """Find a run by its folder, by a part of its name that no other run has, or as `latest`.

    Args:
        run: The folder, the part of a name, or `latest`.
        root: Where runs are kept.

    Returns:
        The run.

    Raises:
        UsageError: No run or several runs are meant.
    """
    if (Path(run) / "run.json").is_file() or Path(run).is_dir():
        return read(Path(run))
    known = everything(root)
    matching = known[-1:] if str(run) == "latest" else [each for each in known if str(run) in each.name]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UsageError(f"{run}: several runs have that in their name: {', '.join(each.name for each in matching)}")
    names = ", ".join(each.name for each in known[-5:]) or "none"
    raise UsageError(f"{run}: no run folder, and no run of that name in {root}/ (the latest: {names})")
