"""Classifiers trained over clients that keep their data: a step is a round."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.errors import UsageError
from chainlab.federated.config import ClientConfig, PartitionConfig, PrivacyConfig, SamplingConfig
from chainlab.optim.config import OptimizerConfig

if TYPE_CHECKING:
    import numpy as np


@chainlab.config
class FederatedConfig:
    """A multilayer perceptron trained over clients. FedAvgM, FedAdam, FedYogi and FedAdagrad are choices of server."""

    data: DatasetConfig = DatasetConfig()
    """What it is trained and evaluated on; the evaluation sets stay with the server."""
    partition: PartitionConfig = PartitionConfig()
    """How the training examples are spread over clients."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (32,)
    """Features of each hidden layer."""
    client: ClientConfig = ClientConfig()
    """What a client does in a round."""
    server: OptimizerConfig = OptimizerConfig(name="sgd", learning_rate=1.0)
    """The server's step on the mean update, any optimiser of optax; sgd at rate 1 takes the update as it is."""
    sampling: SamplingConfig = SamplingConfig()
    """Who takes part in a round."""
    interpreter: Literal["ragged", "vmapped", "sharded"] = "ragged"
    """Clients one after the other without padding, all at once, or in lanes over all devices."""
    privacy: PrivacyConfig | None = None
    """Differential privacy of clients; needs `sampling.rate`."""


@chainlab.experiment
def federated(config: FederatedConfig) -> "chainlab.Task":
    """Train a classifier over clients that keep their data."""
    import jax.numpy as jnp
    import numpy as np
    import optax

    from chainlab import federated, nn, optim

    dataset = config.data.load().flat()
    if not dataset.classes:
        raise UsageError(f"data.name: wanted a set with classes, got {config.data.name!r}")
    ready = dataset.transform or dict
    train = {name: np.asarray(leaf) for name, leaf in ready(dataset.train).items()}
    x, parts = config.partition.draw(train["x"], train["y"])
    clients = federated.lay_out({**train, "x": x}, parts, config.client.batch_size, seed=config.partition.seed)
    model = nn.mlp((*dataset.features, *config.hidden, len(dataset.classes)))

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        losses = optax.softmax_cross_entropy_with_integer_labels(model.apply(params, batch["x"]), batch["y"])
        return federated.masked_mean(losses, batch["mask"]), {}

    def evaluate(state: Any, split: Any) -> dict[str, Any]:
        output = model.apply(state.params, split["x"])
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(output, split["y"]))
        return {"loss": loss, "accuracy": jnp.mean((jnp.argmax(output, axis=-1) == split["y"]).astype(jnp.float32))}

    privacy, epsilon = _privacy(config)
    algorithm, server = config.client.build(objective), optim.build(config.server)
    interpret = federated.sharded() if config.interpreter == "sharded" else getattr(federated, config.interpreter)
    last = config.privacy.rounds if config.privacy else None
    advance = federated.federate(algorithm, server, interpret=interpret, privacy=privacy, last=last)

    def step(state: Any, cohort: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        spent = {"epsilon": jnp.asarray(epsilon)[jnp.minimum(state.round, len(epsilon) - 1)]} if privacy else {}
        state, metrics = advance(state, cohort, key)
        return state, {**metrics, **spent}

    def subjects(state: Any) -> "dict[str, chainlab.Subject]":
        """The objective of a client, on the first batch of the cohort's first client."""

        def first(params: Any, cohort: Any, key: Any) -> tuple[Any, dict[str, Any]]:
            return objective(params, cohort.clients.of(cohort.ids[0]).at(jnp.int32(0)), key)

        return {"client": chainlab.Subject(first, state.params)}

    sampling = config.sampling
    everyone = clients.number if sampling.rate is None else None
    return chainlab.Task(
        init=lambda key: federated.start(algorithm, server, model.init(key), clients.number),
        step=step,
        evaluate=evaluate,
        data=federated.sample_rounds(
            clients,
            size=sampling.size or everyone,
            rate=sampling.rate,
            dropout=sampling.dropout,
            splits={name: ready(split) for name, split in dataset.splits.items()},
            origin=dataset.origin,
        ),
        subjects=subjects,
        panels=lambda state, folder: [_partition(parts, train["y"], len(dataset.classes))],
    )


def _privacy(config: FederatedConfig) -> "tuple[Any, np.ndarray]":
    """The mechanism, or None, and epsilon after each round of the budget."""
    import numpy as np

    from chainlab import federated

    if config.privacy is None:
        return None, np.zeros(0, np.float32)
    if config.sampling.rate is None:
        raise UsageError("privacy: wanted sampling.rate, the probability with which a client is asked, got null")
    mechanism = federated.Privacy(config.privacy.clip, config.privacy.noise_multiplier, config.sampling.rate)
    curve = federated.epsilons(mechanism, config.privacy.rounds, delta=config.privacy.delta)
    return mechanism, curve.astype(np.float32)


def _partition(parts: "list[np.ndarray]", labels: "np.ndarray", classes: int) -> "chainlab.Panel":
    """Examples of each class by client, largest client first."""
    import numpy as np
    from matplotlib.figure import Figure

    counts = np.stack([np.bincount(labels[part], minlength=classes) for part in parts])
    sizes = np.sum(counts, axis=1)
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(counts[np.argsort(-sizes, kind="stable")].T, aspect="auto", interpolation="nearest")
    axes.set(xlabel="client", ylabel="class")
    figure.colorbar(image, label="examples")
    note = f"{len(parts)} clients of {np.min(sizes)} to {np.max(sizes)} examples."
    return chainlab.Panel("Partition", figure, note=note)
