"""Judging drives: completion, infractions, comfort, a driving score, and intervals by bootstrap."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from chainlab.driving.conditions import Condition
from chainlab.driving.simulation import Drive, Driver, drive, expert_driver
from chainlab.driving.trip import TICK, Route, sample_route
from chainlab.driving.vehicle import kinematic
from chainlab.typing import Params, PRNGKey

COLLISION, LOST_LANE = 0.60, 0.65  # factors of CARLA's score for a collision with a vehicle and with the layout


class Score(NamedTuple):
    """Figures of drives, one a route.

    Attributes:
        driving_score: Completion times 0.60 for a collision or 0.65 for a lost lane.
        completion: Progress over the expert's on the same route, at most 1.
        collision: Whether it ended in a collision.
        lost_lane: Whether it ended off the lane.
        lateral: Mean distance from the lane's centre while it lasted, m.
        jerk: Root mean square of the longitudinal jerk, m/s^3.
        lateral_acceleration: Root mean square of speed times yaw rate, m/s^2.
    """

    driving_score: Float[Array, " routes"]
    completion: Float[Array, " routes"]
    collision: Bool[Array, " routes"]
    lost_lane: Bool[Array, " routes"]
    lateral: Float[Array, " routes"]
    jerk: Float[Array, " routes"]
    lateral_acceleration: Float[Array, " routes"]


def score(driven: Drive, expert_progress: Float[Array, ""]) -> Score:
    r"""Judge one drive, $\mathrm{score} = c \cdot 0.60^{\text{collision}} \cdot 0.65^{\text{lost lane}}$.

    Args:
        driven: The drive.
        expert_progress: How far the expert came on the same route, m.

    Returns:
        The score.

    References:
        CARLA Leaderboard, infraction penalties of version 1.0.
    """
    end, alive = driven.end, driven.alive
    total = jnp.maximum(jnp.sum(alive), 1.0)
    mean = lambda values: jnp.sum(alive * values) / total  # noqa: E731
    completion = jnp.clip(end.progress / jnp.maximum(expert_progress, 1.0), 0.0, 1.0)
    penalty = jnp.where(end.collided, COLLISION, 1.0) * jnp.where(end.lost, LOST_LANE, 1.0)
    jerk = jnp.diff(driven.acceleration, prepend=driven.acceleration[:1]) / TICK
    return Score(
        completion * penalty,
        completion,
        end.collided,
        end.lost,
        mean(jnp.abs(driven.offset)),
        jnp.sqrt(mean(jerk**2)),
        jnp.sqrt(mean((driven.speed * driven.yaw_rate) ** 2)),
    )


def routes(key: PRNGKey, count: int) -> tuple[Route, Key[Array, " routes"]]:
    """Routes and a key for the sensors on each.

    Args:
        key: Randomness.
        count: How many.

    Returns:
        Routes stacked on the leading axis, and their keys.
    """
    where, noise = jax.random.split(key)
    return jax.vmap(sample_route)(jax.random.split(where, count)), jax.random.split(noise, count)


def judge(
    driver: Driver,
    params: Params,
    condition: Condition,
    key: PRNGKey,
    *,
    count: int = 1024,
    seconds: float = 20.0,
    together: int = 64,
    vehicle: object = kinematic,
) -> Score:
    """Drive many routes, and the expert on the same ones for what is there to be completed.

    Args:
        driver: Who drives.
        params: Its parameters.
        condition: The condition.
        key: Picks the routes and the sensors' noise: the same key, the same routes.
        count: Routes.
        seconds: How long each lasts.
        together: Routes driven side by side; as many as keep their pictures in the cache.
        vehicle: The model of the vehicle.

    Returns:
        The scores, one a route.
    """

    def one(inputs: tuple[Route, PRNGKey]) -> Score:
        route, noise = inputs
        reference = drive(expert_driver, None, route, condition, noise, seconds=seconds, vehicle=vehicle)
        driven = drive(driver, params, route, condition, noise, seconds=seconds, vehicle=vehicle)
        return score(driven, reference.end.progress)

    return jax.lax.map(one, routes(key, count), batch_size=min(together, count))


def interval(
    values: Float[Array, " routes"], key: PRNGKey, resamples: int = 1000
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """95 % interval of a mean over routes, by the percentile bootstrap; in JAX, so that evaluations may hold it.

    Args:
        values: One figure a route.
        key: Randomness of the resampling.
        resamples: Bootstrap samples.

    Returns:
        Lower and upper end.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> [float(end) for end in interval(jnp.ones(50), jax.random.key(0))]
        [1.0, 1.0]
    """
    count = len(values)
    mean = lambda k: jnp.mean(values[jax.random.randint(k, (count,), 0, count, jnp.int32)])  # noqa: E731
    means = jax.lax.map(mean, jax.random.split(key, resamples), batch_size=50)
    low, high = jnp.unstack(jnp.quantile(means, jnp.asarray([0.025, 0.975], means.dtype)))
    return low, high


def summary(scores: Score) -> Mapping[str, Float[Array, ""]]:
    """Means over routes, by name.

    Args:
        scores: Scores of many routes.

    Returns:
        The means.
    """
    return {name: jnp.mean(jnp.asarray(values).astype(jnp.float32)) for name, values in scores._asdict().items()}
