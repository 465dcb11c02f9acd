"""The user's own arrays: `.npz` archives."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from chainlab.data.batches import Origin
from chainlab.data.dataset import Arrays, Dataset, as_float32, check_examples, check_labels, split, unit_range
from chainlab.data.locate import existing, sha256
from chainlab.data.tabular import Scale, rescale
from chainlab.errors import DataError


def from_npz(
    path: str | Path,
    *,
    regression: bool = False,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    scale: Scale = "none",
) -> Dataset:
    """A NumPy archive with `x` and `y`, or with `x_train`, `y_train` and the like for `validation` and `test`.

    Args:
        path: The archive; object arrays (pickles) are refused.
        regression: Whether `y` is a number to predict rather than a label.
        validation: Share of the training examples in `validation`, unless the archive has its own.
        test: Share of the training examples in `test`, unless the archive has its own.
        seed: Picks the split.
        scale: As in `bundled`; with `none`, bytes (uint8) stay bytes and reach the model in [0, 1].

    Returns:
        The data set.

    Raises:
        MissingDataError: There is no such file.
        DataError: It is damaged, lacks an array, or an array is empty, mislabelled or not finite.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "points.npz"
        >>> np.savez(file, x=np.zeros((20, 3)), y=np.arange(20) % 2)
        >>> points = from_npz(file)
        >>> points.features, sorted(points.splits)
        ((3,), ['test', 'validation'])
    """
    file = existing(path)
    stored = _arrays(file)
    sets = {"train": _examples(stored, "" if "x" in stored or "y" in stored else "_train", regression, file)}
    for name in ("validation", "test"):
        if f"x_{name}" in stored or f"y_{name}" in stored:
            sets[name] = _examples(stored, f"_{name}", regression, file)
    shape = sets["train"]["x"].shape[1:]
    for name, arrays in sets.items():
        if arrays["x"].shape[1:] != shape:
            raise DataError(f"{file}: x_{name}: wanted examples of shape {shape}, got {arrays['x'].shape[1:]}")
    count = 0 if regression else int(sets["train"]["y"].max()) + 1
    for name, arrays in sets.items():
        if not regression:
            check_labels(arrays["y"], count, f"{file}: y_{name}")
    classes = tuple(map(str, range(count)))
    fractions = {name: share for name, share in {"validation": validation, "test": test}.items() if name not in sets}
    whole = sets.pop("train")
    train, splits = split(whole["x"], whole["y"], fractions, seed=seed, classes=classes, where=str(file))
    splits |= sets
    bytes_stay = train["x"].dtype == np.uint8 and scale == "none"
    if not bytes_stay:
        train, splits = rescale(train, splits, scale)
    origin = Origin(file.stem, str(file), sha256(file))
    return Dataset(train, splits, origin, classes, unit_range if bytes_stay else None)


def _arrays(file: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    try:
        with file.open("rb") as stream:  # np.load itself leaves a damaged archive open
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{file}: wanted an .npz archive, got a single array")
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{file}: a damaged .npz archive: {error}") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: wanted an .npz archive of plain arrays without pickles: {error}") from None


def _examples(stored: dict[str, Shaped[np.ndarray, "..."]], suffix: str, regression: bool, file: Path) -> Arrays:
    for key in (f"x{suffix}", f"y{suffix}"):
        if key not in stored:
            raise DataError(f"{file}: wanted an array {key!r}, got {', '.join(sorted(stored)) or 'no array'}")
    x, y = stored[f"x{suffix}"], stored[f"y{suffix}"]
    check_examples(x, y, f"{file}: x{suffix}, y{suffix}")
    x = x if x.dtype == np.uint8 else as_float32(x, f"{file}: x{suffix}")
    if regression:
        return {"x": x, "y": as_float32(y, f"{file}: y{suffix}")}
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"{file}: y{suffix}: wanted integer labels 0, 1, ..., got dtype {y.dtype} (or ask for regression)"
        )
    return {"x": x, "y": y.astype(np.int32)}
