"""A data set as a config; imports no JAX."""

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Lt

from chainlab.declare import config

if TYPE_CHECKING:
    from chainlab.data.dataset import Dataset

_Share = Annotated[float, Ge(0), Lt(1)]


@config
class DatasetConfig:
    """Which data, and how it is split."""

    name: str = "digits"
    """A data set by name (digits, iris, wine, breast_cancer, diabetes, mnist, fashion_mnist, ...), or a path: of an
    `.npz` or `.csv` file, or of a folder of images."""
    path: str | None = None
    """Folder of a set of the MNIST family, when it is not where it is looked for."""
    validation: _Share = 0.1
    """Share of the training examples that `validation` holds."""
    test: _Share = 0.2
    """Share of the examples that `test` holds, unless the source has a test set of its own."""
    split: Annotated[int, Ge(0)] = 0
    """Seed of the split; it is not the run's seed, so that seeds are compared on the same examples."""

    def load(self) -> "Dataset":
        """The data set."""
        from chainlab.data.named import load

        return load(self.name, path=self.path, validation=self.validation, test=self.test, seed=self.split)
