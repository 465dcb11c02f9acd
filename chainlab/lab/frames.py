"""Runs as pandas data frames, for notebooks and other tools."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainlab.errors import MissingDependencyError, UsageError
from chainlab.lab import index
from chainlab.lab.filters import select
from chainlab.lab.rows import Row
from chainlab.lab.runs import read

if TYPE_CHECKING:
    import pandas as pd


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependencyError("pandas", "frames", "a table of runs") from error
    return pd


def load_runs(root: str | Path = "runs", *filters: str) -> "pd.DataFrame":
    """Runs as a table: one row a run, the oldest first.

    Args:
        root: Where runs are kept.
        filters: Conditions that each run must meet, such as `experiment=spiking` or `metrics.accuracy>0.9`.

    Returns:
        The table, indexed by the run's name: what `run.json` holds, `metrics.<split>/<name>` (mean over seeds),
        `spread.<split>/<name>` (their standard deviation) and `config.<key>`.

    Raises:
        UsageError: A filter cannot be read, or looks at something that no run has.
        MissingDependencyError: pandas is not installed.

    Example:
        >>> load_runs("runs", "experiment=mlp")["metrics.test/accuracy"].max()  # doctest: +SKIP
        0.987
    """
    return frame(select(index.rows(Path(root)), filters))


def frame(rows: Sequence[Row]) -> "pd.DataFrame":
    """Flat rows as a table indexed by the run's name.

    Args:
        rows: The rows.

    Returns:
        The table.
    """
    table = _pandas().DataFrame(list(rows), columns=list(dict.fromkeys(key for row in rows for key in row)) or ["name"])
    return table.set_index("name")


def load_curves(root: str | Path = "runs", *filters: str) -> "pd.DataFrame":
    """The curves of runs as a long table, one row a value.

    Args:
        root: Where runs are kept.
        filters: Conditions that each run must meet.

    Returns:
        Columns `name` (of the run), `split`, `metric`, `step`, `seed` and `value`.

    Raises:
        UsageError: A filter cannot be read, or looks at something that no run has.
        MissingDependencyError: pandas is not installed.
    """
    pd = _pandas()
    parts: list[dict[str, Any]] = []
    for row in select(index.rows(Path(root)), filters):
        run = read(Path(str(row["path"])))
        for metric, splits in run.curves.items():
            for split, curve in splits.items():
                points, seeds = curve.values.shape
                parts.append(
                    {
                        "name": run.name,
                        "split": split,
                        "metric": metric,
                        "step": curve.steps.astype(int).repeat(seeds),
                        "seed": list(run.seeds)[:seeds] * points,
                        "value": curve.values.ravel(),
                    }
                )
    columns = ["name", "split", "metric", "step", "seed", "value"]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def export(rows: Sequence[Row], path: Path) -> None:
    """Write rows as a file that other tools read.

    Args:
        rows: The rows.
        path: A `.parquet` or a `.csv` file.

    Raises:
        UsageError: The file has another suffix.
        MissingDependencyError: pandas, or pyarrow for Parquet, is not installed.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{path}: wanted a name that ends in .parquet or .csv")
    table = frame(rows)
    if path.suffix == ".csv":
        table.to_csv(path)
        return
    for name in table.columns:  # a column of Parquet has one type
        kinds = {type(value) for value in table[name] if value is not None and value == value}
        if len(kinds) > 1 and not kinds <= {int, float}:
            table[name] = [None if value is None or value != value else str(value) for value in table[name]]
    try:
        table.to_parquet(path)
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "frames", "a Parquet file") from error
