"""Data-parallel workers that exchange compressed gradients, on tabular data or images."""

from typing import Annotated, Any

from annotated_types import Ge, Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.optim.compression.config import ExchangeConfig
from chainlab.optim.config import OptimizerConfig


@chainlab.config
class ParallelConfig:
    """Workers that each take a part of the batch and exchange what a code makes of their gradients."""

    data: DatasetConfig = DatasetConfig(name="digits")
    """What is learned."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (64,)
    """Features of each hidden layer."""
    workers: Annotated[int, Gt(0)] = 8
    """Workers; they must divide the batch. On one device they are vmapped, on a mesh its `data` axis divides them."""
    exchange: ExchangeConfig = ExchangeConfig()
    """How they form the mean of their gradients."""
    optimizer: OptimizerConfig = OptimizerConfig(name="sgd", learning_rate=0.1)
    """What is done with the mean. Behind a code with momentum of its own it should have none."""
    decay: Annotated[float, Ge(0)] = 1e-3
    """Weight of the squared norm of the weights in the objective."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Examples in a batch, of all workers together."""


@chainlab.experiment
def parallel(config: ParallelConfig) -> "chainlab.Task":
    """Train a classifier with compressed gradients."""
    import jax
    import jax.numpy as jnp
    import optax

    from chainlab import lab, nn, optim
    from chainlab.errors import UsageError
    from chainlab.optim import compression

    dataset = config.data.load().flat()
    if not dataset.classes:
        raise UsageError(f"parallel: data {config.data.name!r} has no classes, wanted a classification problem")
    model = nn.mlp((*dataset.features, *config.hidden, len(dataset.classes)))
    exchange = compression.build_exchange(config.exchange)
    sent = exchange.sent_bytes(jax.eval_shape(model.init, jax.random.key(0)))

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        logits = model.apply(params, batch["x"], key=key)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]))
        penalty = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
        accuracy = jnp.mean((jnp.argmax(logits, axis=-1) == batch["y"]).astype(jnp.float32))
        return loss + config.decay / 2 * penalty, {"accuracy": accuracy, "sent_bytes": jnp.float32(sent)}

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        loss, metrics = objective(params, split, None)
        return {"loss": loss, "accuracy": metrics["accuracy"]}

    return lab.supervised(
        model,
        objective,
        optax.chain(compression.combine(exchange, config.workers), optim.build(config.optimizer)),
        dataset.batches(config.batch_size),
        evaluate=evaluate,
        rule=compression.per_worker(config.workers),
        panels=lambda state, folder: [_bytes(config, state.params)],
    )


def _bytes(config: ParallelConfig, params: Any) -> "chainlab.Panel":
    """What a worker sends in a step with each code."""
    import dataclasses
    import typing

    from chainlab.optim import compression

    names = typing.get_args(compression.ExchangeConfig.__annotations__["name"])
    dense = compression.build_exchange(compression.ExchangeConfig()).sent_bytes(params)
    rows = []
    for name in names:
        changed = dataclasses.replace(config.exchange, name=name, momentum=None)
        sent = compression.build_exchange(changed).sent_bytes(params)
        used = "yes" if name == config.exchange.name else ""
        rows.append({"code": name, "bytes": sent, "times fewer": round(dense / sent, 2), "used": used})
    return chainlab.Panel("Bytes that a worker sends in a step", rows=rows, note="Indices and scales are counted.")
