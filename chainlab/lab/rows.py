"""A run as one flat row, so that runs can be filtered, sorted, tabulated and indexed alike."""

import json
from collections.abc import Iterator, Mapping
from statistics import fmean, stdev
from typing import Any, TypeAlias

from chainlab.errors import UsageError
from chainlab.lab.runs import RunFolder

Row: TypeAlias = dict[str, bool | int | float | str | None]
"""Values by dotted key."""

_APART = ("seeds", "final", "claims", "error")  # said by `row` in its own way


def row(run: RunFolder) -> Row:
    """Everything that a run recorded beside its curves, flat.

    Args:
        run: The run.

    Returns:
        `name`, `path` and what `run.json` holds by dotted key; `seeds`, how many there are; `metrics.<split>/<name>`,
        the mean over seeds, and `spread.<split>/<name>`, their standard deviation; `claims`, how many are met of
        how many; and `config.<key>`, the resolved config. A list is JSON text.
    """
    found: Row = {"name": run.name, "path": str(run.path)}
    found.update(_flat("", {key: value for key, value in run.summary.items() if key not in _APART}))
    found["seeds"] = len(run.seeds)
    for name, values in run.final.items():
        found[f"metrics.{name}"] = fmean(values)
        if len(values) > 1:
            found[f"spread.{name}"] = stdev(values)
    if claims := run.summary.get("claims"):
        found["claims"] = f"{sum(bool(claim['met']) for claim in claims)} of {len(claims)} met"
    if error := run.summary.get("error"):
        found["error"] = str(error)
    try:
        found.update(_flat("config.", run.settings))
    except UsageError as error:
        found.setdefault("error", str(error))
    return found


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value if not isinstance(value, list | dict) else json.dumps(value)
