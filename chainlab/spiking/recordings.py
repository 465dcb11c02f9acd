"""Event recordings as rasters: the Heidelberg spoken digits and commands, and any data set of `tonic`."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from chainlab.data.batches import Origin
from chainlab.data.dataset import Dataset, check_labels, split
from chainlab.data.locate import locate, sha256
from chainlab.errors import DataError, MissingDependencyError, UsageError

_HEIDELBERG = {
    "shd": (("train", "test"), 20, "Spiking Heidelberg Digits"),
    "ssc": (("train", "valid", "test"), 35, "Spiking Speech Commands"),
}
_UNITS = 700


def bin_events(
    times: Float[np.ndarray, " events"],
    units: Int[np.ndarray, " events"],
    *,
    steps: int,
    size: int,
    duration: float,
) -> UInt8[np.ndarray, "time size"]:
    """Events as a raster of zeros and ones: whether a unit fired in a step.

    Args:
        times: Time of each event; later ones than `duration` are left out.
        units: Unit of each event.
        steps: Time steps.
        size: Number of units.
        duration: Time that the steps cover, in the unit of `times`.

    Returns:
        The raster, as bytes.

    Raises:
        DataError: A time is negative or not finite, or a unit is not in `0 .. size-1`.

    Example:
        >>> bin_events(np.array([0.0, 0.9]), np.array([1, 0]), steps=2, size=2, duration=1.0).tolist()
        [[0, 1], [1, 0]]
    """
    if not np.all(np.isfinite(times)) or np.any(times < 0):
        raise DataError(f"event times must be finite and at least 0, got {times.min()}")
    if len(units) and (units.min() < 0 or units.max() >= size):
        raise DataError(f"event units must be in 0..{size - 1}, got {units.min()}..{units.max()}")
    raster = np.zeros((steps, size), np.uint8)
    step = np.floor(times.astype(np.float64) / duration * steps).astype(int)
    there = step < steps
    raster[step[there], units[there]] = 1
    return raster


def heidelberg(
    name: str = "shd",
    path: str | Path | None = None,
    *,
    steps: int = 100,
    channels: int = 140,
    duration: float = 1.4,
    validation: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Spiking Heidelberg Digits (`shd`) or Spiking Speech Commands (`ssc`), from their HDF5 files.

    Args:
        name: `shd` or `ssc`.
        path: Folder of `shd_train.h5` and the like; None looks in `$CHAINLAB_DATA`.
        steps: Time steps.
        channels: Neighbouring ones of the 700 units are merged to as many; must divide 700.
        duration: Seconds that the steps cover.
        validation: Share of the training examples in `validation`; `ssc` has its own.
        seed: Picks the split.

    Returns:
        The data set, `x` (examples, time, channels) of zeros and ones as bytes.

    Raises:
        MissingDataError: The files are not on this machine.
        MissingDependencyError: The library h5py is not installed.
        UsageError: The name is unknown or `channels` does not divide 700.
        DataError: A file is not of that form.

    References:
        Cramer et al., The Heidelberg Spiking Data Sets, arXiv:1910.07407.
    """
    if name not in _HEIDELBERG:
        raise UsageError(f"unknown data set {name!r}: wanted shd or ssc")
    if channels < 1 or _UNITS % channels:
        raise UsageError(f"channels must divide {_UNITS}, got {channels}")
    parts, classes, title = _HEIDELBERG[name]
    files = locate(
        name,
        [f"{name}_{part}.h5" for part in parts],
        path=path,
        how=f"download {title} from https://zenkelab.org/datasets/ (CC BY 4.0) and unpack it there",
    )
    sets = {part: _read(file, steps, channels, duration, classes) for part, file in zip(parts, files, strict=True)}
    names = tuple(map(str, range(classes)))
    train, splits = sets["train"], {"test": sets["test"]}
    if "valid" in sets:
        splits["validation"] = sets["valid"]
    elif validation:
        train, held_out = split(
            train["x"], train["y"], {"validation": validation}, seed=seed, classes=names, where=name
        )
        splits |= held_out
    return Dataset(train, splits, Origin(name, str(files[0]), sha256(files[0]), "CC BY 4.0"), names)


def _read(file: Path, steps: int, channels: int, duration: float, classes: int) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("h5py", "spiking", "Reading HDF5 files") from error
    try:
        stored = h5py.File(file, "r")
    except OSError as error:
        raise DataError(f"{file}: not an HDF5 file: {error}") from error
    with stored:
        for key in ("spikes/times", "spikes/units", "labels"):
            if key not in stored:
                raise DataError(f"{file}: no array {key!r}")
        labels = np.asarray(stored["labels"]).astype(np.int32)
        if labels.size == 0:
            raise DataError(f"{file}: there are no recordings")
        check_labels(labels, classes, str(file))
        x = np.empty((len(labels), steps, channels), np.uint8)
        events: Any = stored["spikes"]
        for index in range(len(labels)):
            times, units = events["times"][index], events["units"][index]
            merged = np.asarray(units).astype(int) * channels // _UNITS
            try:
                x[index] = bin_events(
                    np.asarray(times, np.float64), merged, steps=steps, size=channels, duration=duration
                )
            except DataError as error:
                raise DataError(f"{file}: recording {index}: {error}") from error
    return {"x": x, "y": labels}


def from_recordings(
    train: Iterable[tuple[Any, int]],
    test: Iterable[tuple[Any, int]],
    *,
    sensor: tuple[int, ...],
    steps: int,
    duration: float,
    classes: Sequence[str],
    name: str = "recordings",
) -> Dataset:
    """Recordings of an event sensor, as `tonic`'s data sets give them, as rasters.

    Args:
        train: Pairs of events and label; events are a structured array with fields `t` and `x`, and `y` and `p`
            where the sensor has rows and polarities. Any data set of `tonic` is such an iterable.
        test: The same, for the test set.
        sensor: The data set's `sensor_size`: columns, rows and polarities.
        steps: Time steps.
        duration: Time that the steps cover, in the unit of `t` (microseconds in `tonic`).
        classes: Names of the classes.
        name: What the data set is called.

    Returns:
        The data set, `x` (examples, time, columns * rows * polarities) of zeros and ones as bytes.

    Raises:
        DataError: A recording lacks a field or has an event outside the sensor.
    """

    def rasters(pairs: Iterable[tuple[Any, int]], which: str) -> dict[str, np.ndarray]:
        x: list[np.ndarray] = []
        y: list[int] = []
        for index, (events, label) in enumerate(pairs):
            try:
                x.append(_raster(events, sensor, steps, duration))
            except DataError as error:
                raise DataError(f"{name}: {which} recording {index}: {error}") from error
            y.append(int(label))
        if not x:
            raise DataError(f"{name}: there are no {which} recordings")
        return {"x": np.stack(x), "y": np.asarray(y, np.int32)}

    return Dataset(rasters(train, "train"), {"test": rasters(test, "test")}, Origin(name), tuple(classes))


def from_tonic(name: str, folder: str | Path, *, steps: int, duration: float, **options: Any) -> Dataset:
    """A data set of the library `tonic` as rasters, with its own training and test recordings.

    Args:
        name: Its class in `tonic.datasets`, such as `NMNIST`, `DVSGesture` or `POKERDVS`.
        folder: Where tonic keeps the files; it downloads those that are missing.
        steps: Time steps.
        duration: Microseconds that the steps cover.
        options: Further arguments of the class.

    Returns:
        The data set, as `from_recordings` gives it.

    Raises:
        MissingDependencyError: The library tonic is not installed.
        UsageError: tonic has no such data set, or it is not one of labelled training and test recordings.
        DataError: As for `from_recordings`.
    """
    try:
        from tonic import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError("tonic", "tonic", "Reading tonic's data sets") from error
    known: Sequence[str] = datasets.__all__
    if name not in known:
        raise UsageError(f"tonic has no data set {name!r}; choose among {', '.join(known)}")
    kind: Any = getattr(datasets, name)
    if "train" not in inspect.signature(kind).parameters or not hasattr(kind, "classes"):
        raise UsageError(f"tonic's {name} has no labelled training and test recordings: use from_recordings")

    def recordings(train: bool) -> Iterable[tuple[Any, int]]:
        part = kind(save_to=str(folder), train=train, **options)
        return (part[index] for index in range(len(part)))

    form: dict[str, Any] = {
        "sensor": tuple(kind.sensor_size),
        "classes": tuple(map(str, kind.classes)),
        "name": name.lower(),
    }
    return from_recordings(recordings(True), recordings(False), steps=steps, duration=duration, **form)


def _raster(events: Any, sensor: tuple[int, ...], steps: int, duration: float) -> np.ndarray:
    fields = events.dtype.names or ()
    wanted = ("t", "x", *(("y",) if len(sensor) > 1 and sensor[1] > 1 else ()))
    missing = [field for field in wanted if field not in fields]
    if missing:
        raise DataError(f"events have no field {', '.join(missing)}, only {', '.join(fields) or 'none'}")
    unit = np.zeros(len(events), int)
    for field, extent in zip(("x", "y", "p"), sensor, strict=False):
        value = events[field].astype(int) if field in fields else np.zeros(len(events), int)
        if len(value) and (value.min() < 0 or value.max() >= extent):
            raise DataError(f"events have {field} in {value.min()}..{value.max()}, the sensor 0..{extent - 1}")
        unit = unit * extent + value
    times = events["t"].astype(np.float64)
    return bin_events(times, unit, steps=steps, size=int(np.prod(sensor)), duration=duration)
