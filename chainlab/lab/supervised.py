"""A supervised problem as a task."""

from collections.abc import Callable
from typing import Any

import optax
from flax import struct

from chainlab.autodiff.rules import backprop
from chainlab.data.batches import Data
from chainlab.lab.task import Subject, Task
from chainlab.nn.model import Model
from chainlab.parallel import unshard
from chainlab.typing import Batch, Metrics, Objective, Params, PRNGKey, Rule


@struct.dataclass
class TrainState:
    """Parameters and optimiser state."""

    params: Params
    optimizer: optax.OptState


def supervised(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: Data,
    *,
    evaluate: Callable[[Params, Batch], Metrics],
    rule: Rule = backprop,
    **extra: Any,
) -> Task:
    r"""Minimise one objective over one parameter set: $\theta \leftarrow \theta + u(\nabla_\theta f)$.

    Args:
        model: Gives the initial parameters.
        objective: `objective(params, batch, key) -> (scalar, metrics)`.
        optimizer: Any optax transformation.
        data: Batches and evaluation splits.
        evaluate: `evaluate(params, split) -> metrics`.
        rule: How the gradient is obtained.
        extra: Further fields of `Task` (`panels`).

    Returns:
        The task; its metrics are `loss` and the objective's own.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab import data, nn
        >>> model, line = nn.dense(1, 1), data.in_memory({"x": jnp.ones((8, 1)), "y": jnp.ones((8, 1))}, 4)
        >>> def objective(params, batch, key):
        ...     return jnp.mean((model.apply(params, batch["x"]) - batch["y"]) ** 2), {}
        >>> task = supervised(model, objective, optax.sgd(0.1), line, evaluate=lambda params, split: {})
        >>> key = jax.random.key(0)
        >>> state, metrics = task.step(task.init(key), line.batch(key, 0), key)
        >>> float(objective(state.params, line.arrays, None)[0]) < float(metrics["loss"])
        True
    """
    gradient = rule(lambda params, batch, key: objective(unshard(params), batch, key))
    extra.setdefault("subjects", lambda state: {"objective": Subject(objective, state.params)})

    def init(key: PRNGKey) -> TrainState:
        params = model.init(key)
        return TrainState(params, optimizer.init(params))

    def step(state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        (loss, metrics), gradients = gradient(state.params, batch, key)
        updates, inner = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, inner), {"loss": loss, **metrics}

    return Task(init, step, lambda state, split: evaluate(unshard(state.params), split), data, **extra)
