"""Some of the classes, and principal components."""

import numpy as np
import pytest

from chainlab.data import DatasetConfig, keep_classes, principal_components
from chainlab.errors import UsageError


@pytest.fixture(scope="module")
def wine():
    return DatasetConfig(name="wine").load()


def test_classes_are_relabelled_in_order(wine):
    pair = keep_classes(wine, [2, 0])
    assert pair.classes == (wine.classes[2], wine.classes[0])
    for name in wine.splits:
        x, y = wine.splits[name]["x"], wine.splits[name]["y"]
        keep = y != 1
        np.testing.assert_array_equal(pair.splits[name]["x"], x[keep])
        np.testing.assert_array_equal(pair.splits[name]["y"], y[keep] == 0)


@pytest.mark.parametrize("labels", [[0, 0], [0, 3], [-1, 0]])
def test_wrong_labels_are_refused(wine, labels):
    with pytest.raises(UsageError, match="below 3"):
        keep_classes(wine, labels)


def test_components_are_fitted_on_the_training_examples(wine):
    small = principal_components(wine, 3)
    x = small.train["x"]
    assert x.dtype == np.float32
    np.testing.assert_allclose(np.cov(x.T), np.eye(3), atol=1e-4)
    _, _, directions = np.linalg.svd(wine.train["x"] - wine.train["x"].mean(0), full_matrices=False)
    test = (wine.splits["test"]["x"] - wine.train["x"].mean(0)) @ directions[:3].T
    scaled = np.abs(test) / np.std((wine.train["x"] - wine.train["x"].mean(0)) @ directions[:3].T, axis=0, ddof=1)
    np.testing.assert_allclose(np.abs(small.splits["test"]["x"]), scaled, atol=1e-3)


@pytest.mark.parametrize("count", [0, 14])
def test_too_many_components_are_refused(wine, count):
    with pytest.raises(UsageError, match="between 1 and 13"):
        principal_components(wine, count)
