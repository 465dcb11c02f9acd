"""Classifiers trained over clients that keep their data: a step is a round."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.errors import UsageError
from chainlab.federated.config import ClientConfig, PartitionConfig, PrivacyConfig, SamplingConfig
from chainlab.optim.config import OptimizerConfig

if TYPE_CHECKING:
    from pathlib import Path

    from chainlab.federated import Federation


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


def build(config: FederatedConfig) -> "Federation":
    """The federation of a config, for a deployment."""
    from chainlab.experiments._federation import problem

    return problem(config).federation


@chainlab.experiment
def federated(config: FederatedConfig) -> "chainlab.Task":
    """Train a classifier over clients that keep their data."""
    import jax
    import jax.numpy as jnp
    import optax
    from chainlab.experiments._federation import problem

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
