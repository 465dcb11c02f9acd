"""Closed loop: sensors, policy, actuators, dynamics and traffic in one scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.driving.camera import render
from chainlab.driving.conditions import Condition
from chainlab.driving.expert import expert
from chainlab.driving.lidar import sweep
from chainlab.driving.policy import Policy
from chainlab.driving.road import locate
from chainlab.driving.scene import HISTORY, Moments, Observation, Scene, Snapshot, observe, own_motion, stack
from chainlab.driving.trip import REMEMBERED, TICK, Route, Trip, move, start
from chainlab.driving.vehicle import Command, kinematic
from chainlab.typing import Params, PRNGKey

_APART = round(HISTORY / TICK)  # ticks between the two moments of an observation

Driver = Callable[[Params, Observation, Scene], Command]
"""`driver(params, observation, scene) -> command`; the scene is for drivers that know more than sensors tell."""


class Drive(NamedTuple):
    """What a drive left behind: its end, and numbers tick by tick (masked by `alive`).

    Attributes:
        end: The trip at the end.
        alive: 1 while the drive lasted.
        x: World x of the ego, m.
        y: World y of the ego, m.
        offset: Distance left of the lane's centre, m.
        speed: m/s.
        steering: rad.
        acceleration: m/s^2.
        yaw_rate: rad/s.
    """

    end: Trip
    alive: Float[Array, " time"]
    x: Float[Array, " time"]
    y: Float[Array, " time"]
    offset: Float[Array, " time"]
    speed: Float[Array, " time"]
    steering: Float[Array, " time"]
    acceleration: Float[Array, " time"]
    yaw_rate: Float[Array, " time"]


class Sight(NamedTuple):
    """What the sensors measured in the last ticks, the oldest first: the earlier moments of the observations to come.

    Attributes:
        camera: Frames.
        lidar: Sweeps, m.
    """

    camera: Float[Array, "ticks rows columns"]
    lidar: Float[Array, "ticks rings beams"]


def recall(trip: Trip, condition: Condition, ticks: int | Int[Array, ""] = 0) -> tuple[Snapshot, Snapshot]:
    """What camera and LiDAR looked at some ticks ago, out of the trip's own past.

    Args:
        trip: The trip.
        condition: The condition: a frozen camera shows the trip's first moment; skew is rounded to ticks.
        ticks: How long ago.

    Returns:
        The snapshot of the camera and that of the LiDAR.
    """

    def ago(ticks: int | Int[Array, ""]) -> Snapshot:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, ticks, keepdims=False), trip.past)

    late = jnp.round(jnp.asarray(condition.skew) / TICK).astype(jnp.int32)
    frozen = jnp.asarray(condition.frozen) > 0
    of_camera = jax.tree.map(lambda first, live: jnp.where(frozen, first, live), trip.first, ago(ticks))
    return of_camera, ago(jnp.minimum(late + ticks, REMEMBERED - 1))


def scene_of(route: Route, trip: Trip) -> Scene:
    """What there is, for drivers that know more than sensors tell."""
    return Scene(route.road, jax.tree.map(lambda leaf: leaf[0], trip.past))


def look(route: Route, trip: Trip, condition: Condition, key: PRNGKey) -> tuple[Observation, Scene]:
    """What the sensors see, and what there is; both moments are rendered.

    Args:
        route: The route.
        trip: The trip.
        condition: The condition.
        key: Randomness of the sensors.

    Returns:
        The observation and the scene.
    """
    seen = [stack(*pair) for pair in zip(recall(trip, condition, _APART), recall(trip, condition), strict=True)]
    return observe(route.road, Moments(*seen), trip.ego, condition, key), scene_of(route, trip)


def _measure(
    route: Route, trip: Trip, condition: Condition, key: PRNGKey, ticks: int | Int[Array, ""] = 0
) -> tuple[Float[Array, "rows columns"], Float[Array, "rings beams"]]:
    """The frame and the sweep of one moment."""
    of_camera, of_lidar = recall(trip, condition, ticks)
    keys = jax.random.split(key)
    frame = render(route.road, of_camera.ego, of_camera.cars, condition, keys[0])
    return frame, sweep(of_lidar.ego, of_lidar.cars, condition, keys[1], road=route.road)


def remember(route: Route, trip: Trip, condition: Condition, key: PRNGKey) -> Sight:
    """What the sensors measured before now, for a drive whose every measurement is rendered once.

    Args:
        route: The route.
        trip: The trip.
        condition: The condition.
        key: Randomness of the sensors, the same for each measurement: no observation holds two of them.

    Returns:
        The measurements of the ticks before now.
    """
    ago = jnp.arange(_APART, 0, -1, dtype=jnp.int32)
    return Sight(*jax.vmap(lambda ticks: _measure(route, trip, condition, key, ticks))(ago))


def see(route: Route, trip: Trip, sight: Sight, condition: Condition, key: PRNGKey) -> tuple[Sight, Observation]:
    """Measure now: what `look` sees, at half its cost, since the earlier moment is remembered.

    Args:
        route: The route.
        trip: The trip.
        sight: What was measured before.
        condition: The condition.
        key: Randomness of the sensors.

    Returns:
        What is to be remembered, and the observation.
    """
    frame, swept = _measure(route, trip, condition, key)
    # a frozen camera repeats its noise as well
    frame = jnp.where(jnp.asarray(condition.frozen) > 0, sight.camera[-1], frame)
    camera, lidar = (jnp.concatenate([old, new[None]]) for old, new in zip(sight, (frame, swept), strict=True))
    own = own_motion(trip.ego)
    ends = lambda taken: jnp.stack([taken[0], taken[-1]])  # noqa: E731
    return Sight(camera[1:], lidar[1:]), Observation(ends(camera), ends(lidar), own, jnp.ones_like(own[:2]))


def drive(
    driver: Driver,
    params: Params,
    route: Route,
    condition: Condition,
    key: PRNGKey,
    *,
    seconds: float = 20.0,
    vehicle: Any = kinematic,
) -> Drive:
    """Drive a route to its end, or to the first collision or lost lane.

    Args:
        driver: Who drives.
        params: Its parameters.
        route: The route.
        condition: The condition, all the way.
        key: Randomness of the sensors.
        seconds: How long the route lasts.
        vehicle: The model of the vehicle.

    Returns:
        The drive.
    """

    def tick(carry: tuple[Trip, Sight], key: PRNGKey) -> tuple[tuple[Trip, Sight], tuple[Array, ...]]:
        trip, sight = carry
        sight, observation = see(route, trip, sight, condition, key)
        after = move(route, trip, driver(params, observation, scene_of(route, trip)), vehicle)
        # a drive that has ended stands still
        kept = jax.tree.map(lambda new, old: jnp.where(trip.alive > 0, new, old), after, trip)
        ego = kept.ego
        offset = locate(route.road, ego.x, ego.y).offset
        trace = trip.alive, ego.x, ego.y, offset, ego.speed, ego.steering, ego.acceleration, ego.yaw_rate
        return (kept, sight), trace

    first, rest = jax.random.split(key)
    trip = start(route)
    carry = trip, remember(route, trip, condition, first)
    (end, _), traces = jax.lax.scan(tick, carry, jax.random.split(rest, round(seconds / TICK)))
    return Drive(end, *traces)


def expert_driver(params: Params, observation: Observation, scene: Scene) -> Command:
    """The expert as a driver: it looks at the scene."""
    del params, observation
    return expert(scene.now.ego, scene.road, scene.now.cars, "lane")


def network_driver(policy: Policy) -> Driver:
    """A policy as a driver: it looks at the observation."""

    def driver(params: Params, observation: Observation, scene: Scene) -> Command:
        del scene
        return policy.command(params, observation)

    return driver
