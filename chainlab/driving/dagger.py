"""DAgger as a stream: a fleet drives with the policy that learns, and the expert labels every state that it reaches."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.driving.conditions import health
from chainlab.driving.expert import expert
from chainlab.driving.fleet import Fleet, renew
from chainlab.driving.policy import SCALE
from chainlab.driving.scene import Sample
from chainlab.driving.simulation import look
from chainlab.driving.trip import move
from chainlab.driving.vehicle import Command, into_frame
from chainlab.typing import PRNGKey


def label_fleet(drives: Fleet, key: PRNGKey) -> Sample:
    """What each drive sees, and what the expert would do there.

    Args:
        drives: The fleet.
        key: Randomness of the sensors.

    Returns:
        Labelled states.
    """

    def one(drive: Fleet, key: PRNGKey) -> Sample:
        observation, scene = look(drive.route, drive.trip, drive.condition, key)
        ego, cars = scene.now
        command = jnp.stack(expert(ego, scene.road, cars, "lane"))
        positions = jnp.stack([*into_frame(ego, cars.x, cars.y), cars.speed], axis=-1)
        return Sample(observation, command, health(drive.condition), positions)

    return jax.vmap(one)(drives, jax.random.split(key, len(drives.trip.time)))


def advance_fleet(
    drives: Fleet,
    learnt: Float[Array, "drives 2"],
    labels: Float[Array, "drives 2"],
    expert_share: Float[Array, ""] | float,
    key: PRNGKey,
) -> Fleet:
    r"""One tick of every drive under $\beta \pi^* + (1 - \beta) \hat\pi$; ended drives start anew elsewhere.

    Args:
        drives: The fleet.
        learnt: The learner's answers, in units of `SCALE`.
        labels: The expert's commands in rad and m/s^2.
        expert_share: Probability $\beta$ that the expert acts in a drive's tick.
        key: Randomness of the mixture and of new drives.

    Returns:
        The fleet a tick later.

    References:
        Ross, Gordon and Bagnell, A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
        Learning, arXiv:1011.0686, algorithm 3.1.
    """
    who, new = jax.random.split(key)
    scale = jnp.broadcast_to(jnp.asarray(SCALE, learnt.dtype), learnt.shape)
    taught = jax.random.bernoulli(who, expert_share, (len(learnt), 1))
    command = jnp.where(taught, labels, learnt * scale)

    def one(drive: Fleet, command: Array) -> Fleet:
        return drive._replace(trip=move(drive.route, drive.trip, Command(command[0], command[1])))

    return renew(jax.vmap(one)(drives, command), new)
