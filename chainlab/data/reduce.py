"""Smaller data sets: some of the classes, some of the directions."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from chainlab.data.dataset import Arrays, Dataset
from chainlab.errors import UsageError


def keep_classes(dataset: Dataset, labels: Sequence[int]) -> Dataset:
    """The examples of some classes, relabelled 0, 1, ... in the order of `labels`.

    Args:
        dataset: The data set.
        labels: Labels of the classes to keep.

    Returns:
        The smaller data set.

    Raises:
        UsageError: A label occurs twice or is not one of the data set's.

    Example:
        >>> from chainlab.data import DatasetConfig
        >>> digits = keep_classes(DatasetConfig(name="digits").load(), [5, 3])
        >>> digits.classes, sorted(set(digits.train["y"].tolist()))
        (('5', '3'), [0, 1])
    """
    if len(set(labels)) < len(labels) or not set(labels) <= set(range(len(dataset.classes))):
        raise UsageError(
            f"labels must be different whole numbers below {len(dataset.classes)}, the number of classes; got "
            f"{list(labels)}"
        )
    new = {label: place for place, label in enumerate(labels)}

    def chosen(arrays: Arrays) -> Arrays:
        keep = np.isin(arrays["y"], list(labels))
        kept = {name: array[keep] for name, array in arrays.items()}
        return {**kept, "y": np.array([new[label] for label in kept["y"].tolist()], arrays["y"].dtype)}

    return _each(dataset, chosen, classes=tuple(dataset.classes[label] for label in labels))


def principal_components(dataset: Dataset, count: int) -> Dataset:
    """The leading principal components of the features, fitted on the training examples and scaled to unit variance.

    Args:
        dataset: The data set.
        count: Number of components.

    Returns:
        The data set with `count` float32 features.

    Raises:
        UsageError: There are fewer features or training examples than components.

    Example:
        >>> from chainlab.data import DatasetConfig
        >>> principal_components(DatasetConfig(name="digits").load(), 4).features
        (4,)
    """
    from sklearn.decomposition import PCA

    flat = dataset.flat()
    most = min(flat.train["x"].shape)
    if not 1 <= count <= most:
        raise UsageError(f"the number of principal components must lie between 1 and {most}, got {count}")
    pca = PCA(count, whiten=True, random_state=0).fit(flat.train["x"].astype(np.float64))

    def projected(arrays: Arrays) -> Arrays:
        return {**arrays, "x": pca.transform(arrays["x"].astype(np.float64)).astype(np.float32)}

    return dataclasses.replace(_each(flat, projected), transform=None)


def _each(dataset: Dataset, change: Callable[[Arrays], Arrays], classes: tuple[str, ...] | None = None) -> Dataset:
    """Change the training examples and every split."""
    return dataclasses.replace(
        dataset,
        train=change(dataset.train),
        splits={name: change(arrays) for name, arrays in dataset.splits.items()},
        classes=dataset.classes if classes is None else classes,
    )
