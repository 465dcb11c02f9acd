"""The user's own tables: `.csv` files."""

import csv
from pathlib import Path

import numpy as np

from chainlab.data.batches import Origin
from chainlab.data.dataset import Dataset
from chainlab.data.locate import existing, sha256
from chainlab.data.tabular import Scale, tabulated
from chainlab.errors import DataError, UsageError


def from_csv(
    path: str | Path,
    *,
    target: str | None = None,
    regression: bool = False,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    scale: Scale = "standard",
) -> Dataset:
    r"""A table with one header line, number columns and a target column.

    Args:
        path: The file.
        target: Name of the target column; the last column by default.
        regression: Whether the target is a number to predict; otherwise its values are the classes.
        validation: Share of the examples in `validation`.
        test: Share of the examples in `test`.
        seed: Picks the split.
        scale: As in `bundled`.

    Returns:
        The data set.

    Raises:
        MissingDataError: There is no such file.
        DataError: A line has too few or too many fields, or a field is not a finite number; names the line.
        UsageError: The target is not a column.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "points.csv"
        >>> _ = file.write_text("\n".join(["x,y,label", *["1,2,a", "3,4,b"] * 10]))
        >>> points = from_csv(file)
        >>> points.classes, points.features
        (('a', 'b'), (2,))
    """
    file = existing(path)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a readable CSV file: {error}") from None
    if len(header) < 2 or not rows:
        raise DataError(
            f"{file}: wanted a header line with two columns or more and at least one row, got {len(rows)} rows"
        )
    target = header[-1] if target is None else target
    if target not in header:
        raise UsageError(f"{file}: no column {target!r}: wanted one of {', '.join(header)}")
    column = header.index(target)
    features = np.empty((len(rows), len(header) - 1))
    targets: list[str] = []
    for index, (line, row) in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{file}:{line}: wanted {len(header)} fields, got {len(row)}")
        targets.append(row[column].strip())
        others = [(name, field) for name, field in zip(header, row, strict=True) if name != target]
        features[index] = [_number(field, f"{file}:{line}: column {name!r}") for name, field in others]
    if regression:
        lines = [line for line, _ in rows]
        y = np.array([_number(t, f"{file}:{line}: column {target!r}") for line, t in zip(lines, targets, strict=True)])
        classes: tuple[str, ...] = ()
    else:
        classes = tuple(sorted(set(targets), key=lambda each: (not each.isdecimal(), each.zfill(20), each)))
        y = np.array([classes.index(each) for each in targets], np.int32)
    origin = Origin(file.stem, str(file), sha256(file))
    return tabulated(features, y, classes, origin, validation=validation, test=test, seed=seed, scale=scale)


def _number(field: str, where: str) -> float:
    try:
        value = float(field)
    except ValueError:
        raise DataError(f"{where}: wanted a number, got {field!r}") from None
    if not np.isfinite(value):
        raise DataError(f"{where}: wanted a finite number, got {field!r}")
    return value
