"""Tables: the sets that scikit-learn bundles."""

import hashlib
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from chainlab.data.batches import Origin
from chainlab.data.dataset import Arrays, Dataset, as_float32, split
from chainlab.errors import UsageError

Scale = Literal["standard", "range", "none"]

_LICENCES = {
    "digits": "CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)",
    "iris": "CC BY 4.0 (UCI, Iris)",
    "wine": "CC BY 4.0 (UCI, Wine)",
    "breast_cancer": "CC BY 4.0 (UCI, Breast Cancer Wisconsin Diagnostic)",
    "diabetes": "with scikit-learn, BSD-3-Clause (Efron et al. 2004)",
}
BUNDLED_NAMES = tuple(_LICENCES)


def bundled(
    name: str,
    *,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    scale: Scale = "standard",
) -> Dataset:
    """A data set that scikit-learn carries in its wheel.

    Args:
        name: `digits` (8x8 images, 10 classes), `iris`, `wine`, `breast_cancer` or `diabetes` (a number to
            predict, in its own unit).
        validation: Share of the examples in `validation`.
        test: Share of the examples in `test`.
        seed: Picks the split.
        scale: `standard`: zero mean and unit variance; `range`: [0, 1]; both fitted on the training examples
            alone, feature by feature. `none`: as they are.

    Returns:
        The data set, stratified by class where there are classes.

    Raises:
        UsageError: The name is unknown.

    Example:
        >>> digits = bundled("digits")
        >>> digits.features, len(digits.classes), len(digits.train["x"]), sorted(digits.splits)
        ((64,), 10, 1258, ['test', 'validation'])
    """
    if name not in _LICENCES:
        raise UsageError(f"unknown data set {name!r}: scikit-learn bundles {', '.join(_LICENCES)}")
    import sklearn
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    x, y = np.asarray(bunch.data), np.asarray(bunch.target)
    classes = tuple(str(each) for each in bunch.target_names) if "target_names" in bunch else ()
    digest = hashlib.sha256(np.ascontiguousarray(x).tobytes() + np.ascontiguousarray(y).tobytes()).hexdigest()
    origin = Origin(name, f"scikit-learn {sklearn.__version__}", digest, _LICENCES[name])
    return tabulated(x, y, classes, origin, validation=validation, test=test, seed=seed, scale=scale)


def tabulated(
    x: Shaped[np.ndarray, "examples *features"],
    y: Shaped[np.ndarray, " examples"],
    classes: tuple[str, ...],
    origin: Origin,
    *,
    validation: float,
    test: float,
    seed: int,
    scale: Scale,
) -> Dataset:
    """Split a table and scale it by its training part.

    Args:
        x: Inputs.
        y: Labels `0 .. classes-1`, or numbers to predict when there are no classes.
        classes: Names of the classes.
        origin: Where the table came from.
        validation: Share of the examples in `validation`.
        test: Share of the examples in `test`.
        seed: Picks the split.
        scale: As in `bundled`.

    Returns:
        The data set.
    """
    y = y.astype(np.int32) if classes else as_float32(y, f"{origin.source}: y")
    x = as_float32(x, f"{origin.source}: x")
    fractions = {"validation": validation, "test": test}
    train, splits = split(x, y, fractions, seed=seed, classes=classes, where=origin.source)
    train, splits = rescale(train, splits, scale)
    return Dataset(train, splits, origin, classes)


def rescale(train: Arrays, splits: dict[str, Arrays], scale: Scale) -> tuple[Arrays, dict[str, Arrays]]:
    """Scale every feature by what the training examples say of it; a constant feature becomes 0.

    Args:
        train: Training examples.
        splits: Evaluation sets.
        scale: As in `bundled`.

    Returns:
        Both, scaled alike.
    """
    if scale == "none":
        return train, splits
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    scaler = {"standard": StandardScaler, "range": MinMaxScaler}[scale]()
    scaler.fit(train["x"].reshape(len(train["x"]), -1).astype(np.float64))

    def scaled(arrays: Arrays) -> Arrays:
        x = arrays["x"]
        flat = np.asarray(scaler.transform(x.reshape(len(x), -1).astype(np.float64)))
        return {**arrays, "x": flat.astype(np.float32).reshape(x.shape)}

    return scaled(train), {name: scaled(arrays) for name, arrays in splits.items()}
