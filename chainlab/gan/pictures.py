"""Images in [-1, 1] from a labelled data set, and stacked images of a thousand modes."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from chainlab.data.batches import Data, Origin
from chainlab.data.dataset import Dataset
from chainlab.errors import DataError, UsageError
from chainlab.gan.classifier import check_classes
from chainlab.typing import PRNGKey


class Images(NamedTuple):
    """Labelled images.

    Attributes:
        x: Pixels in [-1, 1].
        y: Labels.
    """

    x: Float[np.ndarray, "examples height width channels"]
    y: Int[np.ndarray, " examples"]


def images(dataset: Dataset) -> tuple[Images, Images]:
    """The training and test images of a data set, scaled to [-1, 1] by the largest training pixel.

    Args:
        dataset: Images, or rows of square grey images (scikit-learn's digits, loaded with `scale="none"`).

    Returns:
        Training and test images.

    Raises:
        DataError: There is no test set, the examples are no images of a size that 4 divides, a pixel is negative, or a
            class is missing from the training images.
    """
    if "test" not in dataset.splits:
        raise DataError(f"{dataset.origin.name}: no test set; load it with a share for `test`")
    largest = max(float(np.max(dataset.train["x"])), 1e-30)

    def prepare(arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> Images:
        x = np.asarray(arrays["x"], np.float32)
        side = round(x.shape[1] ** 0.5) if x.ndim == 2 else 0
        if x.ndim == 2 and side**2 == x.shape[1]:
            x = x.reshape(-1, side, side, 1)
        if x.ndim != 4 or x.shape[1] % 4 or x.shape[2] % 4:
            raise DataError(
                f"{dataset.origin.name}: wanted images whose height and width 4 divides, got examples of shape "
                f"{arrays['x'].shape[1:]}"
            )
        if x.min() < 0:
            raise DataError(f"{dataset.origin.name}: wanted pixels >= 0, got {x.min()}; load it with scale: none")
        return Images(2 * x / largest - 1, np.asarray(arrays["y"], np.int32))

    train, test = prepare(dataset.train), prepare(dataset.splits["test"])
    if dataset.classes:
        check_classes(train.y, len(dataset.classes), dataset.origin.name)
    return train, test


def stack(source: Float[Array | np.ndarray, "examples height width 1"], index: Int[Array, "batch 3"]) -> Array:
    """Three grey images as the channels of one."""
    return jnp.moveaxis(jnp.asarray(source)[index][..., 0], 1, -1)


def stacked(train: Images, batch_size: int, *, splits: Mapping[str, Images], origin: Origin) -> Data:
    """Batches of stacked images: three independent grey images of ten classes as channels, a thousand modes.

    Args:
        train: Grey training images.
        batch_size: Stacked images in a batch.
        splits: Grey evaluation images.
        origin: Where they came from.

    Returns:
        Batches `{"x": (batch, height, width, 3)}`, drawn afresh.

    Raises:
        UsageError: The images are not grey or `batch_size` is less than 1.

    References:
        Metz et al., Unrolled Generative Adversarial Networks, arXiv:1611.02163, section 3.3.1.
    """
    if train.x.shape[-1] != 1 or batch_size < 1:
        raise UsageError(f"stacked needs grey images and batch_size >= 1, got shape {train.x.shape} and {batch_size}")
    count = len(train.x)

    def plan(key: PRNGKey, position: Int[Array, ""]) -> Int[Array, "batch 3"]:
        return jax.random.randint(jax.random.fold_in(key, position), (batch_size, 3), 0, count)

    return Data(
        {"x": train.x},
        plan,
        lambda arrays, index: {"x": stack(arrays["x"], index)},
        {name: part._asdict() for name, part in splits.items()},
        origin=origin,
    )
