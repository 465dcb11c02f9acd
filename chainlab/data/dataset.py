"""A labelled data set in memory: training arrays, evaluation splits and where they came from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt8

from chainlab.data.batches import Data, Origin, in_memory
from chainlab.errors import DataError, UsageError
from chainlab.typing import Batch

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


def unit_range(batch: Mapping[str, Any]) -> Batch:
    r"""Bytes of `x` as float32 in [0, 1], $x / 255$; applied on the device, so that images stay bytes in memory.

    Args:
        batch: A mapping with `x` (uint8).

    Returns:
        The batch with `x` as float32.
    """
    x: Array = jax.numpy.asarray(batch["x"])
    return {**batch, "x": x.astype(jax.numpy.float32) / 255}


@dataclass(frozen=True)
class Dataset:
    """A labelled data set in memory.

    Attributes:
        train: Training examples: `x` (examples, *features) and `y` (examples,).
        splits: Evaluation sets by name (`validation`, `test`), shaped like `train`.
        origin: Where the data came from.
        classes: Names of the classes in label order; empty when `y` is a number.
        transform: What turns stored examples into the model's input, on the device; None keeps them.
    """

    train: Arrays
    splits: Mapping[str, Arrays] = field(default_factory=dict)
    origin: Origin = Origin("unnamed")
    classes: tuple[str, ...] = ()
    transform: Callable[[Mapping[str, Any]], Batch] | None = None

    @property
    def features(self) -> tuple[int, ...]:
        """Shape of one example's `x`."""
        return self.train["x"].shape[1:]

    def flat(self) -> "Dataset":
        """The same data with every `x` as one axis of features, as a multilayer perceptron takes it."""

        def flatten(arrays: Arrays) -> Arrays:
            return {**arrays, "x": arrays["x"].reshape(len(arrays["x"]), -1)}

        splits = {name: flatten(arrays) for name, arrays in self.splits.items()}
        return replace(self, train=flatten(self.train), splits=splits)

    def batches(self, batch_size: int) -> Data:
        """Shuffled batches, and the evaluation splits after `transform`.

        Args:
            batch_size: Examples in a batch.

        Returns:
            The data of a `Task`.
        """
        splits = {name: self.transform(arrays) if self.transform else arrays for name, arrays in self.splits.items()}
        return in_memory(dict(self.train), batch_size, splits=splits, origin=self.origin, transform=self.transform)


def split(
    x: Shaped[np.ndarray, "examples *features"],
    y: Shaped[np.ndarray, " examples"],
    fractions: Mapping[str, float],
    *,
    seed: int,
    classes: Sequence[str] = (),
    where: str = "data",
) -> tuple[Arrays, dict[str, Arrays]]:
    """Draw evaluation sets from a data set, stratified by class.

    Args:
        x: Inputs.
        y: Labels or targets.
        fractions: Share of the examples of each evaluation set, by name.
        seed: Picks the split.
        classes: Names of the classes; when given, every set keeps the classes' shares.
        where: What an error calls the data.

    Returns:
        The remaining training examples, and the evaluation sets by name.

    Raises:
        UsageError: The fractions are negative or leave nothing to train on.
        DataError: A class has too few examples to be in every set.

    Example:
        >>> import numpy as np
        >>> train, held_out = split(np.zeros((10, 2)), np.arange(10) % 2, {"test": 0.2}, seed=0, classes="ab")
        >>> len(train["y"]), sorted(held_out["test"]["y"].tolist())
        (8, [0, 1])
    """
    from sklearn.model_selection import train_test_split

    if any(share < 0 for share in fractions.values()) or sum(fractions.values()) >= 1:
        raise UsageError(
            f"{where}: the shares of the evaluation sets must be >= 0 and sum to less than 1, got {fractions}"
        )
    wanted = {name: round(share * len(y)) for name, share in fractions.items() if share > 0}
    if classes and wanted:
        counts = np.bincount(y, minlength=len(classes))
        rarest = int(np.argmin(counts))
        if counts[rarest] <= len(wanted):
            raise DataError(
                f"{where}: class {classes[rarest]!r} has {counts[rarest]} examples, wanted at least {len(wanted) + 1}: "
                f"one for training and one for each of {', '.join(wanted)}"
            )
    rest = np.arange(len(y))
    result: dict[str, Arrays] = {}
    for name, size in wanted.items():
        if size < max(len(classes), 1) or len(rest) - size < max(len(classes), 1):
            raise DataError(
                f"{where}: {len(y)} examples are too few for {name}={fractions[name]}: wanted one of each class or more"
            )
        rest, chosen = train_test_split(rest, test_size=size, random_state=seed, stratify=y[rest] if classes else None)
        result[name] = {"x": x[chosen], "y": y[chosen]}
    return {"x": x[rest], "y": y[rest]}, result


def check_finite(values: Shaped[np.ndarray, "*shape"], where: str) -> None:
    """Refuse NaN and infinity, naming the first.

    Args:
        values: Numbers of any shape, examples first.
        where: What the error calls them.

    Raises:
        DataError: A value is not finite.
    """
    if not np.issubdtype(values.dtype, np.inexact):
        return
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, *column = (int(index) for index in bad[0])
        place = f"row {row}" + (f", column {', '.join(map(str, column))}" if column else "")
        raise DataError(f"{where}: {place}: wanted a finite number, got {values[tuple(bad[0])]} ({len(bad)} in all)")


def check_examples(x: Shaped[np.ndarray, "..."], y: Shaped[np.ndarray, "..."], where: str) -> None:
    """Refuse inputs and labels that are empty or differ in number.

    Args:
        x: Inputs.
        y: Labels or targets.
        where: What the error calls them.

    Raises:
        DataError: They are scalars, empty, not one label an example, or not of the same number.
    """
    if x.ndim == 0 or y.ndim != 1:
        raise DataError(
            f"{where}: wanted x with examples first and one y an example, got shapes {x.shape} and {y.shape}"
        )
    if len(x) != len(y):
        raise DataError(f"{where}: wanted as many labels as examples, got {len(x)} examples and {len(y)} labels")
    if x.size == 0:
        raise DataError(f"{where}: wanted at least one example, got x of shape {x.shape}")


def check_labels(y: Int[np.ndarray, " examples"] | UInt8[np.ndarray, " examples"], classes: int, where: str) -> None:
    """Refuse labels outside `0 .. classes-1`, naming the first.

    Args:
        y: Labels.
        classes: Number of classes.
        where: What the error calls them.

    Raises:
        DataError: A label is out of range.
    """
    bad = np.flatnonzero((y < 0) | (y >= classes))
    if len(bad):
        row = int(bad[0])
        raise DataError(f"{where}: row {row}: wanted a label in 0..{classes - 1}, got {y[row]} ({len(bad)} in all)")


def as_float32(x: Shaped[np.ndarray, "*shape"], where: str) -> Float[np.ndarray, "*shape"]:
    """Real numbers as float32 (float64 beyond its range is refused), checked to be finite.

    Args:
        x: Numbers.
        where: What an error calls them.

    Returns:
        The same numbers in float32.

    Raises:
        DataError: They are not real numbers, not finite, or too large for float32.
    """
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer) or x.dtype == np.bool_):
        raise DataError(f"{where}: wanted real numbers, got dtype {x.dtype}")
    check_finite(x, where)
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    check_finite(narrow, f"{where} as float32")
    return narrow
