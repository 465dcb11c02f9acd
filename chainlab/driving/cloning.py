"""Behaviour cloning: the likelihood of the expert's command, from every set of sensors."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from chainlab.driving.conditions import training_condition
from chainlab.driving.policy import SCALE, SENSORS, Policy, masked
from chainlab.driving.readers import DiagonalGaussian
from chainlab.driving.scene import Layout, Sample, sample
from chainlab.typing import Metrics, Objective, Params, PRNGKey


def scaled(command: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
    """A command in rad and m/s^2 in the units that networks answer in."""
    return command / jnp.broadcast_to(jnp.asarray(SCALE, command.dtype), command.shape)


def error(answer: DiagonalGaussian, wanted: Float[Array, "batch 2"]) -> Float[Array, ""]:
    r"""Negative log likelihood plus half the squared error, $\tfrac12 (\log\sigma^2 + e^2/\sigma^2) + \tfrac12 e^2$.

    The second term keeps the mean learning where the variance has grown.

    Args:
        answer: What was predicted.
        wanted: What was right.

    Returns:
        The mean over batch and targets.
    """
    square = (answer.mean - wanted) ** 2
    return jnp.mean(0.5 * (answer.log_variance + square * jnp.exp(-answer.log_variance)) + 0.5 * square)


def draw(key: PRNGKey, batch_size: int, layout: Layout) -> Sample:
    """A batch of labelled states, each in a condition of its own.

    Args:
        key: Randomness.
        batch_size: States.
        layout: How the cars are laid out.

    Returns:
        The samples.
    """

    def one(key: PRNGKey) -> Sample:
        scene_key, condition_key = jax.random.split(key)
        return sample(scene_key, training_condition(condition_key), layout)

    return jax.vmap(one)(jax.random.split(key, batch_size))


def cloning(policy: Policy, *, subsets: bool = True, dropout: float = 0.0) -> Objective:
    """The objective of behaviour cloning on `Sample` batches.

    Args:
        policy: What learns.
        subsets: Whether the policy must also answer from each sensor alone, the others known to be missing.
        dropout: Probability that a sensor is taken away from an example (never both).

    Returns:
        The objective; its metrics are the mean squared errors in units of `SCALE`.
    """

    def objective(params: Params, batch: Sample, key: PRNGKey) -> tuple[Array, Metrics]:
        observation, wanted = batch.observation, scaled(batch.command)
        if dropout:
            gone, which = jax.random.split(key)
            lose = jax.random.bernoulli(gone, dropout, (len(wanted), 1))
            first = jax.random.bernoulli(which, 0.5, (len(wanted), 1))
            absent = jnp.concatenate([lose & first, lose & ~first], axis=1)
            observation = observation._replace(present=jnp.where(absent, 0.0, observation.present))
        fused = policy.apply(params, observation)
        loss = error(fused.command, wanted)
        loss = loss + sum((error(part, wanted) for part in fused.parts.values()), jnp.zeros_like(loss))
        if subsets and len(policy.sensors) > 1:
            for sensor in policy.sensors:
                loss = loss + 0.5 * error(policy.apply(params, masked(observation, [sensor])).command, wanted)
        if policy.parts:
            sound = jnp.stack([batch.health[:, SENSORS.index(s)] for s in policy.parts.values()], axis=-1)
            loss = loss + 0.1 * jnp.mean(optax.sigmoid_binary_cross_entropy(fused.health, sound))
        square = jnp.mean((fused.command.mean - wanted) ** 2, axis=0)
        return loss, {"steering_error": square[0], "acceleration_error": square[1]}

    return objective


def determination(predicted: Float[Array, "batch 2"], wanted: Float[Array, "batch 2"]) -> Float[Array, "2"]:
    r"""Coefficient of determination of each target, $R^2 = 1 - \sum e^2 / \sum (y - \bar y)^2$.

    Args:
        predicted: Predictions.
        wanted: The truth.

    Returns:
        R² of each target.

    Example:
        >>> import jax.numpy as jnp
        >>> y = jnp.array([[0.0, 1.0], [2.0, 5.0]])
        >>> determination(y, y).tolist()
        [1.0, 1.0]
    """
    centred = wanted - jnp.mean(wanted, axis=0, keepdims=True)
    return 1 - jnp.sum((predicted - wanted) ** 2, axis=0) / jnp.sum(centred**2, axis=0)
