"""A data set by name or by path."""

from pathlib import Path
from typing import Any

from chainlab.data.config import DatasetConfig
from chainlab.data.csv_file import from_csv
from chainlab.data.dataset import Dataset
from chainlab.data.idx import MNIST_NAMES, mnist
from chainlab.data.image_folder import from_images
from chainlab.data.npz_file import from_npz
from chainlab.data.tabular import BUNDLED_NAMES, bundled
from chainlab.errors import UsageError


def load(config: DatasetConfig | str) -> Dataset:
    """The data set that a config, or just a name or path, describes.

    Args:
        config: The config; a string is its `name`, with every other field at its default.

    Returns:
        The data set.

    Raises:
        UsageError: The name is neither known nor a path of a known kind.
        DataError: The data is missing or damaged.

    Example:
        >>> load("wine").classes
        ('class_0', 'class_1', 'class_2')
    """
    if isinstance(config, str):
        config = DatasetConfig(name=config)
    name, seed = config.name, config.split
    shares: dict[str, Any] = {"validation": config.validation, "test": config.test, "seed": seed}
    scale: dict[str, Any] = {} if config.scale is None else {"scale": config.scale}
    if name in BUNDLED_NAMES:
        return bundled(name, **shares, **scale)
    if name in MNIST_NAMES:
        return mnist(name, path=config.path, validation=config.validation, seed=seed)
    file = Path(name).expanduser()
    if file.suffix == ".npz":
        return from_npz(file, regression=config.regression, **shares, **scale)
    if file.suffix == ".csv":
        return from_csv(file, target=config.target, regression=config.regression, **shares, **scale)
    if file.is_dir():
        return from_images(file, size=config.size, grey=config.grey, **shares)
    known = ", ".join((*BUNDLED_NAMES, *MNIST_NAMES))
    raise UsageError(f"no data set {name!r}: wanted {known}, an .npz or .csv file, or a folder of images")
