"""One page over all runs: a table that filters and sorts, overlaid curves, config differences, links to reports."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from chainlab.errors import UsageError
from chainlab.lab import index
from chainlab.lab.report.figure import SERIES
from chainlab.lab.report.page import order, render, save
from chainlab.lab.rows import Row
from chainlab.lab.runs import Curve, RunFolder, folders

POINTS = 60
"""Most points of a curve on the page."""

_HIDDEN = ("name", "path", "command")  # columns that every run has of its own


def write_overview(root: Path, path: Path | None = None, *, refresh: float | None = None) -> Path:
    """Write the page over all runs below a folder.

    Args:
        root: Where runs are kept.
        path: The file to write; `index.html` in `root` by default.
        refresh: Seconds after which an opened page loads itself again; None leaves it.

    Returns:
        The file.

    Raises:
        UsageError: There are no runs.
    """
    rows = index.rows(root)
    if not rows:
        raise UsageError(f"{root} holds no runs")
    path = path or root / "index.html"
    table = {"refresh": refresh, "colors": SERIES, **_columns(rows), "links": [_links(row, path) for row in rows]}
    page = render(
        "overview.html.jinja",
        count=len(rows),
        root=str(root),
        points=POINTS,
        table=table,
        curves=[_curves(Path(str(row["path"]))) for row in rows],
    )
    return save(page, path)


def watch_overview(root: Path, path: Path | None = None, *, every: float = 5.0) -> None:
    """Write the page again whenever a run below a folder has written something; ends with an interrupt.

    Args:
        root: Where runs are kept.
        path: The file to write; `index.html` in `root` by default.
        every: Seconds between two looks, and after which an opened page loads itself again.
    """
    before: object = None
    while True:
        now = sorted(_traces(folder) for folder in folders(root))
        if now != before:
            write_overview(root, path, refresh=every)
            before = now
        time.sleep(every)


def _traces(folder: Path) -> tuple[str, int, int]:
    """What changes when a run writes."""
    record, metrics = folder / "run.json", folder / "metrics.jsonl"
    return str(folder), record.stat().st_mtime_ns, metrics.stat().st_size if metrics.exists() else 0


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    """Rows as columns: the keys that differ with a value a run, the others once."""
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in _HIDDEN]
    keys.sort(key=lambda key: (0, *order(key.removeprefix("metrics."))) if key.startswith("metrics.") else (1, 0, ""))
    varying = [key for key in keys if len({json.dumps(row.get(key)) for row in rows}) > 1]
    shared = {key: _short(rows[0].get(key)) for key in keys if key not in varying}
    return {
        "names": [row["name"] for row in rows],
        "keys": varying,
        "values": [[_short(row.get(key)) for key in varying] for row in rows],
        "shared": shared,
    }


def _links(row: Row, page: Path) -> list[tuple[str, str]]:
    """The pages of a run as (what, relative address)."""
    folder = Path(str(row["path"]))
    found = sorted(folder.glob("*.html"), key=lambda file: (file.stem != "report", file.name))
    return [(file.stem, quote(os.path.relpath(file, page.parent))) for file in found]


def _curves(folder: Path) -> Mapping[str, Any]:
    try:
        curves = RunFolder(folder, {}).curves
    except UsageError:  # a damaged file leaves the other runs readable
        return {}
    return {
        f"{split}/{name}": _thinned(curve)
        for name, splits in curves.items()
        for split, curve in splits.items()
        if len(curve.steps)
    }


def _thinned(curve: Curve) -> list[list[Any]]:
    """Steps and means, and with several seeds the lowest and the highest value, at up to `POINTS` steps."""
    kept = np.unique(np.linspace(0, len(curve.steps) - 1, min(POINTS, len(curve.steps))).round().astype(int))
    values = curve.values[kept]
    rows = [values.mean(axis=1)]
    if values.shape[1] > 1:
        rows += [values.min(axis=1), values.max(axis=1)]
    return [curve.steps[kept].astype(int).tolist(), *([_short(each) for each in row.tolist()] for row in rows)]


def _short(value: Any) -> Any:
    """A number to six digits; one that is not finite is text, which JSON has no number for."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value
