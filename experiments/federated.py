"""Classifiers trained over clients that keep their data: a step is a round."""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.errors import UsageError
from chainlab.federated.config import ClientConfig, PartitionConfig, PrivacyConfig, SamplingConfig
from chainlab.optim.config import OptimizerConfig

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from chainlab.federated import Algorithm, Clients, Federation


@chainlab.config
class FederatedConfig:
    """A multilayer perceptron trained over clients."""

    data: DatasetConfig = DatasetConfig()
    """What it is trained and evaluated on; the evaluation sets stay with the server."""
    partition: PartitionConfig = PartitionConfig()
    """How the training examples are spread over clients."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (32,)
    """Features of each hidden layer."""
    client: ClientConfig = ClientConfig()
    """What a client does in a round."""
    server: OptimizerConfig | None = None
    """The server's step on the mean update, any optimiser of optax; null takes the algorithm's own, which for most is sgd at rate 1: the update as it is."""  # noqa: E501
    sampling: SamplingConfig = SamplingConfig()
    """Who takes part in a round."""
    interpreter: Literal["auto", "ragged", "vmapped", "sharded"] = "auto"
    """Clients one after the other without padding, all at once, or in lanes over all devices; `auto` counts the work of a step and takes what suits the device."""  # noqa: E501
    privacy: PrivacyConfig | None = None
    """Differential privacy of clients; needs `sampling.rate`."""


class Problem(NamedTuple):
    """A config's federation, and what it is measured with.

    Attributes:
        federation: What a simulation and a deployment run.
        local: Its algorithm before updates are coded.
        objective: What clients differentiate.
        model: The classifier.
        dataset: Its data.
        parts: Indices of each client's examples.
        labels: Class of each training example.
        held: The examples by which each client is measured.
    """

    federation: "Federation"
    local: "Algorithm"
    objective: Any
    model: Any
    dataset: Any
    parts: "list[np.ndarray]"
    labels: "np.ndarray"
    held: "Clients"


def problem(config: FederatedConfig) -> Problem:
    """Build what a config describes."""
    import jax
    import numpy as np
    import optax

    from chainlab import federated, nn, optim

    dataset = config.data.load().flat()
    if not dataset.classes:
        raise UsageError(f"data.name: wanted a set with classes, got {config.data.name!r}")
    train = {name: np.asarray(leaf) for name, leaf in (dataset.transform or dict)(dataset.train).items()}
    x, parts = config.partition.draw(train["x"], train["y"])
    own, held = config.partition.hold_out(parts)
    clients, held = (
        federated.lay_out({**train, "x": x}, each, config.client.batch_size, seed=config.partition.seed)
        for each in (own, held)
    )
    # The first layer apart: what it does to a client's fixed examples is cheaper in another form (InputProduct).
    sizes = (*dataset.features, *config.hidden, len(dataset.classes))
    dense = [nn.dense(*pair, weight_init=jax.nn.initializers.he_normal()) for pair in pairwise(sizes)]
    layers: dict[str, nn.Model] = {}
    for index, layer in enumerate(dense[1:]):
        layers |= {f"relu{index}": nn.activation("relu"), f"dense{index + 1}": layer}
    body = nn.sequential(layers)
    model = nn.sequential({"input": dense[0], "body": body})

    def from_product(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        output = body.apply(params["body"], batch["x"] + params["input"]["bias"][None])
        losses = optax.softmax_cross_entropy_with_integer_labels(output, batch["y"])
        return federated.masked_mean(losses, batch["mask"]), {}

    objective = federated.InputProduct(from_product, ("input", "weight"))
    local = config.client.build(objective)
    if config.client.own_layers:
        local = federated.local_heads(local, ["body"])
    algorithm, code = local, config.client.compression
    if code:
        algorithm = federated.compressed(local, code.build(), feedback=code.feedback)
    server = optim.build(config.server or config.client.server())
    rounds = config.privacy.rounds if config.privacy else None
    privacy = config.privacy.build(config.sampling.rate) if config.privacy else None
    federation = federated.Federation(algorithm, server, model.init, clients, privacy, rounds)
    return Problem(federation, local, objective, model, dataset, parts, train["y"], held)


def build(config: FederatedConfig) -> "Federation":
    """The federation of a config, for a deployment."""
    return problem(config).federation


@chainlab.experiment
def federated(config: FederatedConfig) -> "chainlab.Task":
    """Train a classifier over clients that keep their data."""
    import jax
    import jax.numpy as jnp
    import optax

    from chainlab import federated

    federation, local, objective, model, dataset, parts, labels, held = problem(config)
    algorithm, server, init, clients, privacy, last = federation
    window, sampling = config.sampling.staleness + 1, config.sampling
    if window > 1 and privacy:
        raise UsageError("privacy: its accounting is of synchronous rounds, wanted sampling.staleness 0")
    shapes = jax.eval_shape(init, jax.random.key(0))
    interpret = {
        "auto": lambda: federated.choose(objective, shapes, clients),
        "ragged": lambda: federated.ragged,
        "vmapped": lambda: federated.vmapped,
        "sharded": federated.sharded,
    }[config.interpreter]()
    if window > 1:
        advance = federated.federate_buffered(algorithm, server, interpret=interpret)
    else:
        advance = federated.federate(algorithm, server, interpret=interpret, privacy=privacy, last=last)
    epsilon = jnp.asarray(config.privacy.epsilons(privacy), jnp.float32) if config.privacy and privacy else None

    def start(key: Any) -> Any:
        if window > 1:
            return federated.start_buffered(algorithm, server, init(key), clients.number, window=window)
        return federated.start(algorithm, server, init(key), clients.number)

    def step(state: Any, cohort: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        spent = {} if epsilon is None else {"epsilon": epsilon[jnp.minimum(state.round, len(epsilon) - 1)]}
        state, metrics = advance(state, cohort, key)
        return state, {**metrics, **spent}

    def evaluate(state: Any, split: Any) -> dict[str, Any]:
        output = model.apply(state.params, split["x"])
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(output, split["y"]))
        return {"loss": loss, "accuracy": jnp.mean((jnp.argmax(output, axis=-1) == split["y"]).astype(jnp.float32))}

    def subjects(state: Any) -> "dict[str, chainlab.Subject]":
        """The objective of a client, on the first batch of the cohort's first client."""

        def first(params: Any, cohort: Any, key: Any) -> tuple[Any, dict[str, Any]]:
            return objective(params, cohort.clients.of(cohort.ids[0]).at(jnp.int32(0)), key)

        return {"client": chainlab.Subject(first, state.params)}

    def panels(state: Any, folder: "Path") -> "list[chainlab.Panel]":
        from chainlab.federated import panels

        def right(params: Any, batch: Any) -> Any:
            return jnp.argmax(model.apply(params, batch["x"]), axis=-1) == batch["y"]

        def tuned(client: Any) -> Any:
            kept = state.memory[1] if config.client.compression else state.memory
            memory = jax.tree.map(lambda leaf: leaf[client], kept)
            batches, key = clients.of(client), jax.random.key(0)
            return federated.fine_tune(local, state.params, state.shared, memory, batches, key)

        served = {"the server's": lambda client: state.params, "after the client's own training": tuned}
        accuracies = {
            name: jax.device_get(jax.jit(lambda of=of: federated.evaluate_clients(right, of, held))())
            for name, of in served.items()
        }
        drawn = [panels.partition(parts, labels, len(dataset.classes)), *panels.progress(folder)]
        drawn.append(panels.fairness(accuracies, held_out=config.partition.holdout > 0))
        return [chainlab.Panel(*each) for each in drawn]

    return chainlab.Task(
        init=start,
        step=step,
        evaluate=evaluate,
        data=federated.sample_rounds(
            clients,
            size=sampling.size or (clients.number if sampling.rate is None else None),
            rate=sampling.rate,
            dropout=sampling.dropout,
            splits={name: (dataset.transform or dict)(split) for name, split in dataset.splits.items()},
            origin=dataset.origin,
        ),
        subjects=subjects,
        panels=panels,
    )
