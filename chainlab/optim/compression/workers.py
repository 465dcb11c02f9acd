"""Gradients of many workers: a gradient rule that keeps them apart and optax transformations that join them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from chainlab.autodiff.rules import backprop, cut
from chainlab.errors import UsageError
from chainlab.optim.compression.exchanges import Exchange
from chainlab.typing import Batch, Gradient, Objective, Params, PRNGKey, Rule

_AXIS = "workers"


class ExchangeState(NamedTuple):
    """Steps so far, and what the workers remember."""

    step: PyTree
    memory: PyTree


def across(exchange: Exchange, axis: str, *, seed: int = 0) -> optax.GradientTransformation:
    """An exchange as an optax transformation of one worker, for use inside `jax.shard_map` over a mesh.

    Args:
        exchange: How the mean is formed.
        axis: The mapped axis of the workers.
        seed: Randomness of the codes.

    Returns:
        A transformation from the worker's gradient to the mean over the workers. Its state is the worker's own.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.optim.compression import all_reduce
        >>> worker = across(all_reduce(), "workers")
        >>> step = jax.vmap(lambda g: worker.update(g, worker.init(g))[0], axis_name="workers")
        >>> step(jnp.array([1.0, 3.0])).tolist()
        [2.0, 2.0]
    """

    def init(params: Params) -> Any:
        return ExchangeState(jnp.zeros((), jnp.int32), exchange.init(params))

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        del params
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        average, _, memory = exchange.mean(updates, state.memory, key, axis)
        return average, ExchangeState(state.step + 1, memory)

    return optax.GradientTransformation(init, update)


def combine(exchange: Exchange, workers: int, *, seed: int = 0) -> optax.GradientTransformation:
    """An exchange as an optax transformation of gradients with a leading axis of workers, as `per_worker` gives them.

    Args:
        exchange: How the mean is formed.
        workers: Number of workers.
        seed: Randomness of the codes.

    Returns:
        A transformation that takes that axis away; chain it before an optimiser.

    Raises:
        UsageError: Gradients that `update` gets have another number of workers.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from chainlab.optim.compression import all_reduce
        >>> step = optax.chain(combine(all_reduce(), 2), optax.sgd(1.0))
        >>> params = jnp.zeros(3)
        >>> step.update(jnp.array([[1.0, 2, 3], [3, 2, 1]]), step.init(params), params)[0].tolist()
        [-2.0, -2.0, -2.0]
    """
    inner = across(exchange, _AXIS, seed=seed)

    def init(params: Params) -> Any:
        state: Any = inner.init(params)
        return ExchangeState(state.step, jax.tree.map(lambda x: jnp.stack([x] * workers), state.memory))

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        del params
        found = {leaf.shape[0] for leaf in jax.tree.leaves(updates)}
        if found != {workers}:
            raise UsageError(f"combine: wanted gradients of {workers} workers along the leading axis, got {found}")
        axes = ExchangeState(None, 0)
        step: Any = jax.vmap(inner.update, (0, axes), (None, axes), axis_name=_AXIS)
        return step(updates, state)

    return optax.GradientTransformation(init, update)


def per_worker(workers: int, rule: Rule = backprop) -> Rule:
    r"""The gradient of each worker's part of the batch, $g_i = \nabla_\theta f(\theta, B_i)$, not averaged.

    Args:
        workers: Parts that the batch is cut into along its leading axis; must divide it.
        rule: The rule of one worker.

    Returns:
        A rule whose gradients have a leading axis of workers; value and metrics are means over them.

    Raises:
        UsageError: `workers` is less than 1 or does not divide a leaf's leading axis.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> objective = lambda params, batch, key: (jnp.mean(params * batch), {})
        >>> _, gradients = per_worker(2)(objective)(jnp.float32(1.0), jnp.arange(4.0), jax.random.key(0))
        >>> gradients.tolist()
        [0.5, 2.5]
    """
    if workers < 1:
        raise UsageError(f"per_worker needs workers >= 1, got {workers}")

    def divided(objective: Objective) -> Gradient:
        gradient = rule(objective)

        def apply(params: Params, batch: Batch, key: PRNGKey) -> Any:
            parts = cut(batch, workers, what="workers")
            values, gradients = jax.vmap(gradient, (None, 0, 0))(params, parts, jax.random.split(key, workers))
            return jax.tree.map(lambda x: jnp.mean(x, axis=0), values), gradients

        return apply

    return divided
