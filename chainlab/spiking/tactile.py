"""Braille letters read by a robot's fingertip: real event-like sensor data."""

from pathlib import Path

import numpy as np

from chainlab.data.batches import Origin
from chainlab.data.dataset import Dataset, split
from chainlab.data.locate import locate, sha256
from chainlab.errors import DataError

_SOURCE = "Müller-Cleve et al., arXiv:2205.15864, doi:10.5281/zenodo.6556273"
_HOW = (
    "keep the readings as braille_tactile.npz (arrays `taxels` of bytes (reading, time, 12), `lengths`, `labels` and "
    f"`letters`) in a folder that $CHAINLAB_DATA names; source: {_SOURCE} (CC BY 4.0)"
)


def braille(
    path: str | Path | None = None,
    *,
    taxels: tuple[int, ...] = (1, 2, 6, 10),
    steps: int = 76,
    validation: float = 0.0,
    test: float = 0.2,
    seed: int = 0,
) -> Dataset:
    r"""Pressure over time on 4 of the 12 taxels, for the 27 symbols of the Braille alphabet.

    A reading is $1 - b / 255$ of its bytes, cut to `steps`, and standardised per taxel on the training part.

    Args:
        path: The `.npz` file or its folder; None looks in `$CHAINLAB_DATA`.
        taxels: Which taxels to use.
        steps: Time steps to keep, at most the length of the shortest reading.
        validation: Share of the readings in `validation`.
        test: Share of the readings in `test`.
        seed: Picks the split, which keeps the symbols' shares.

    Returns:
        The data set, `x` (readings, time, taxels) as float32.

    Raises:
        MissingDataError: The file is not on this machine.
        DataError: The file lacks an array, or `steps` or a taxel is not in it.
    """
    (file,) = locate("braille", ["braille_tactile.npz"], path=path, how=_HOW)
    with np.load(file, allow_pickle=False) as stored:
        missing = {"taxels", "lengths", "labels", "letters"} - set(stored)
        if missing:
            raise DataError(f"{file}: no array {', '.join(sorted(missing))}")
        readings, lengths, labels = stored["taxels"], stored["lengths"], stored["labels"]
        letters = tuple(map(str, stored["letters"]))
    if not 1 <= steps <= int(lengths.min()):
        raise DataError(f"{file}: steps must be in 1..{int(lengths.min())}, the shortest reading, got {steps}")
    if not taxels or min(taxels) < 0 or max(taxels) >= readings.shape[2]:
        raise DataError(f"{file}: taxels must be in 0..{readings.shape[2] - 1}, got {taxels}")
    x = (1 - readings[:, :steps, list(taxels)] / 255).astype(np.float32)
    fractions = {"validation": validation, "test": test}
    train, splits = split(x, labels.astype(np.int32), fractions, seed=seed, classes=letters, where=str(file))
    mean, deviation = train["x"].mean((0, 1)), train["x"].std((0, 1)) + 1e-8
    train, *rest = ({**part, "x": (part["x"] - mean) / deviation} for part in (train, *splits.values()))
    origin = Origin("braille", _SOURCE, sha256(file), "CC BY 4.0")
    return Dataset(train, dict(zip(splits, rest, strict=True)), origin, letters)
