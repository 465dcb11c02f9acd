"""A multilayer perceptron on tabular data or images."""

from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Lt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.optim.config import OptimizerConfig

if TYPE_CHECKING:
    from chainlab.data import Dataset


@chainlab.config
class NetworkConfig:
    """The network."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (128,)
    """Features of each hidden layer."""
    activation: str = "relu"
    """Activation after each hidden layer, by its name in `chainlab.nn.activations`."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout rate after each hidden activation."""


@chainlab.config
class MlpConfig:
    """A multilayer perceptron, trained by cross-entropy on classes or by squared error on numbers."""

    data: DatasetConfig = DatasetConfig()
    """What it is trained and evaluated on."""
    model: NetworkConfig = NetworkConfig()
    """The network."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=1e-3)
    """Any optimiser of optax, by its name and with its own arguments."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Examples in a batch."""
    micro_batches: Annotated[int, Gt(0)] = 1
    """Parts that a batch is cut into to save memory; the gradient is that of the whole batch."""


@chainlab.experiment
def mlp(config: MlpConfig) -> "chainlab.Task":
    """Train a multilayer perceptron."""
    import jax.numpy as jnp
    import optax

    from chainlab import autodiff, lab, nn, optim

    dataset = config.data.load().flat()
    classes = len(dataset.classes)
    sizes = (*dataset.features, *config.model.hidden, classes or 1)
    model = nn.mlp(sizes, activation=config.model.activation, dropout=config.model.dropout)

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        output = model.apply(params, batch["x"], key=key)
        if classes:
            loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(output, batch["y"]))
            return loss, {"accuracy": jnp.mean((jnp.argmax(output, axis=-1) == batch["y"]).astype(jnp.float32))}
        return jnp.mean(jnp.square(output[:, 0] - batch["y"])), {}

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        loss, metrics = objective(params, split, None)
        return {"loss": loss, **metrics}

    return lab.supervised(
        model,
        objective,
        optim.build(config.optimizer),
        dataset.batches(config.batch_size),
        evaluate=evaluate,
        rule=autodiff.accumulate(config.micro_batches) if config.micro_batches > 1 else autodiff.backprop,
        panels=(lambda state, folder: [_per_class(dataset, model, state.params)]) if classes else None,
    )


def _per_class(dataset: "Dataset", model: Any, params: Any) -> "chainlab.Panel":
    """Precision, recall and support of every class on the test set."""
    import jax.numpy as jnp
    import numpy as np
    from sklearn.metrics import precision_recall_fscore_support

    split = dataset.splits["test"]
    x = dataset.transform(split)["x"] if dataset.transform else split["x"]
    predicted = np.argmax(model.apply(params, jnp.asarray(x)), axis=-1)
    labels = range(len(dataset.classes))
    scores = precision_recall_fscore_support(split["y"], predicted, labels=labels, zero_division=0)
    names = ("precision", "recall", "f1", "examples")
    rows = [
        {"class": name, **dict(zip(names, (round(float(v), 4) for v in column), strict=True))}
        for name, column in zip(dataset.classes, zip(*scores, strict=True), strict=True)
    ]
    return chainlab.Panel("Test set by class", rows=rows)
