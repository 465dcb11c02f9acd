"""A data set by name or by path."""

from pathlib import Path

from chainlab.data.csv_file import from_csv
from chainlab.data.dataset import Dataset
from chainlab.data.idx import MNIST_NAMES, mnist
from chainlab.data.image_folder import from_images
from chainlab.data.npz_file import from_npz
from chainlab.data.tabular import BUNDLED_NAMES, bundled
from chainlab.errors import UsageError


def load(
    name: str, *, path: str | Path | None = None, validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> Dataset:
    """A data set by name, or from the user's own file, with its source's defaults for everything else.

    Args:
        name: What `bundled` or `mnist` knows by name; or a path: of an `.npz` or `.csv` file, or of a folder
            of images.
        path: Folder of a set of the MNIST family, when it is not where it is looked for.
        validation: Share of the training examples in `validation`.
        test: Share of the examples in `test`, unless the source has its own.
        seed: Picks the split.

    Returns:
        The data set.

    Raises:
        UsageError: It is neither a known name nor a path of a known kind.

    Example:
        >>> load("wine").classes
        ('class_0', 'class_1', 'class_2')
    """
    if name in BUNDLED_NAMES:
        return bundled(name, validation=validation, test=test, seed=seed)
    if name in MNIST_NAMES:
        return mnist(name, path=path, validation=validation, seed=seed)
    file = Path(name).expanduser()
    if file.suffix == ".npz":
        return from_npz(file, validation=validation, test=test, seed=seed)
    if file.suffix == ".csv":
        return from_csv(file, validation=validation, test=test, seed=seed)
    if file.is_dir():
        return from_images(file, validation=validation, test=test, seed=seed)
    known = ", ".join((*BUNDLED_NAMES, *MNIST_NAMES))
    raise UsageError(f"no data set {name!r}: wanted {known}, an .npz or .csv file, or a folder of images")
