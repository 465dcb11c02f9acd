"""A multilayer perceptron on tabular or image data."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt
from chainlab.optim.config import OptimizerConfig

import chainlab
from chainlab.data.config import DatasetConfig


@chainlab.config
class ModelConfig:
    """The network."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (128,)
    """Features of each hidden layer."""
    activation: str = "relu"
    """Name of the activation after each hidden layer (see `chainlab.nn.activations`)."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout rate after each hidden activation."""


@chainlab.config
class MlpConfig:
    """A multilayer perceptron."""

    data: DatasetConfig = DatasetConfig()
    """What it is trained on."""
    model: ModelConfig = ModelConfig()
    """The network."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=1e-3)
    """Any optimiser of optax, by its name and with its own arguments."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Examples in a batch."""
    micro_batches: Annotated[int, Gt(0)] = 1
    """Parts that a batch is cut into, to save memory; the gradient is the same."""
