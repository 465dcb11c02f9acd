"""A data set as a config; imports no JAX."""

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Lt

from chainlab.declare import config

if TYPE_CHECKING:
    from chainlab.data.dataset import Dataset


@config
class DatasetConfig:
    """A labelled data set, by name or from the user's own file."""

    name: str = "digits"
    """scikit-learn's `digits`, `iris`, `wine`, `breast_cancer` or `diabetes`; `mnist`, `fashion-mnist` or `kmnist`; or the path of an `.npz` or `.csv` file or of a folder of images, one folder a class."""  # noqa: E501
    path: str | None = None
    """Folder of the IDX files of a set of the MNIST family; null looks in `$CHAINLAB_DATA` and where Debian installs them."""  # noqa: E501
    validation: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the examples that is held out as `validation`."""
    test: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Share of the examples that is held out as `test`, unless the source has a test set of its own."""
    split: Annotated[int, Ge(0)] = 0
    """Seed that picks the held-out examples; it is not the run's seed, so that all seeds of a run share one split."""
    scale: Literal["standard", "range", "none"] | None = None
    """Scaling of tables, fitted on the training examples: zero mean and unit variance, [0, 1], or none; null takes the source's default. Images of bytes always reach the model in [0, 1]."""  # noqa: E501
    regression: bool = False
    """Whether the target of an `.npz` or `.csv` file is a number to predict rather than a class."""
    target: str | None = None
    """Target column of a `.csv` file; null takes the last one."""
    size: tuple[Annotated[int, Gt(0)], Annotated[int, Gt(0)]] | None = None
    """Height and width that a folder's images are resized to; null wants them all alike."""
    grey: bool = False
    """Whether a folder's images are read as one grey channel rather than three colours."""

    def load(self) -> "Dataset":
        """Read the data set.

        Returns:
            The data set.

        Raises:
            UsageError: The name is neither known nor a path of a known kind.
            DataError: The data is missing or damaged.
        """
        from chainlab.data.named import load

        return load(self)
