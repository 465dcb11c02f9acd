"""Closed loop: sensors, policy, actuators, dynamics and traffic in one scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chainlab.driving.conditions import Condition
from chainlab.driving.expert import expert
from chainlab.driving.policy import Policy
from chainlab.driving.road import LANE_WIDTH, Road, locate, sample_road
from chainlab.driving.scene import HISTORY, Moments, Observation, Scene, Snapshot, observe, sample_ego, stack
from chainlab.driving.traffic import Traffic, advance, collides, following_layout, poses, rewind_cars
from chainlab.driving.vehicle import Command, Vehicle, kinematic, rewind
from chainlab.typing import Params, PRNGKey

TICK = 0.2  # between two observations, s
_SUBSTEPS = 2  # of the dynamics in a tick
_REMEMBERED = 6  # snapshots
OFF_LANE = LANE_WIDTH / 2  # distance of the rear axle from the lane's centre at which the lane is lost, m

Driver = Callable[[Params, Observation, Scene], Command]
"""`driver(params, observation, scene) -> command`; the scene is for drivers that know more than sensors tell."""


class Route(NamedTuple):
    """Where a drive starts.

    Attributes:
        road: The road.
        ego: The ego vehicle.
        traffic: The other cars.
    """

    road: Road
    ego: Vehicle
    traffic: Traffic


class Trip(NamedTuple):
    """A drive in progress.

    Attributes:
        ego: The ego vehicle.
        traffic: The other cars.
        past: The last snapshots, the newest first.
        first: The first snapshot: what a frozen camera shows.
        time: Since the start, s.
        alive: 1 until the first collision or lost lane.
        collided: Whether it ended in a collision.
        lost: Whether it ended off the lane.
        progress: Along the road while alive, m.
    """

    ego: Vehicle
    traffic: Traffic
    past: Snapshot
    first: Snapshot
    time: Float[Array, ""]
    alive: Float[Array, ""]
    collided: Bool[Array, ""]
    lost: Bool[Array, ""]
    progress: Float[Array, ""]


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


def sample_route(key: PRNGKey) -> Route:
    """Draw a route: near the lane's centre, at 6 to 11 m/s, behind traffic that follows the road.

    Args:
        key: Randomness.

    Returns:
        The route.
    """
    keys = jax.random.split(key, 4)
    road = sample_road(keys[0])
    ego = sample_ego(keys[1], road, spread=0.3)
    speed = jax.random.uniform(keys[2], (), minval=6.0, maxval=11.0)
    zero = jnp.zeros_like(speed)
    ego = ego._replace(speed=speed, steering=zero, acceleration=zero, yaw_rate=zero)
    return Route(road, ego, following_layout(keys[3], ego.x))


def start(route: Route) -> Trip:
    """A trip at its start; its past is what it would have been at constant motion.

    Args:
        route: The route.

    Returns:
        The trip.
    """
    cars = poses(route.traffic, route.road)
    ago = lambda t: Snapshot(rewind(route.ego, t), rewind_cars(cars, t))  # noqa: E731
    past = jax.vmap(ago)(TICK * jnp.arange(_REMEMBERED, dtype=jnp.int32).astype(route.ego.x.dtype))
    now, zero = Snapshot(route.ego, cars), jnp.zeros_like(route.ego.x)
    false = jnp.zeros((), bool)
    return Trip(route.ego, route.traffic, past, now, zero, jnp.ones_like(zero), false, false, zero)


def recall(trip: Trip, condition: Condition) -> Moments:
    """What each sensor looks at now, out of the trip's own past.

    Args:
        trip: The trip.
        condition: The condition: a frozen camera shows the trip's first moment; skew is rounded to ticks.

    Returns:
        The moments.
    """

    def ago(ticks: Array) -> Snapshot:
        index = jnp.clip(ticks, 0, _REMEMBERED - 1)
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), trip.past)

    late = jnp.round(jnp.asarray(condition.skew) / TICK).astype(jnp.int32)
    apart = round(HISTORY / TICK)
    frozen = jnp.asarray(condition.frozen) > 0
    freeze = lambda snapshot: jax.tree.map(lambda a, b: jnp.where(frozen, a, b), trip.first, snapshot)  # noqa: E731
    zero = jnp.zeros_like(late)
    camera = stack(freeze(ago(zero + apart)), freeze(ago(zero)))
    return Moments(camera, stack(ago(late + apart), ago(late)))


def look(route: Route, trip: Trip, condition: Condition, key: PRNGKey) -> tuple[Observation, Scene]:
    """What the sensors see, and what there is.

    Args:
        route: The route.
        trip: The trip.
        condition: The condition.
        key: Randomness of the sensors.

    Returns:
        The observation and the scene.
    """
    scene = Scene(route.road, jax.tree.map(lambda leaf: leaf[0], trip.past))
    return observe(route.road, recall(trip, condition), trip.ego, condition, key), scene


def move(route: Route, trip: Trip, command: Command, vehicle: Any = kinematic) -> Trip:
    """One tick under a command.

    Args:
        route: The route.
        trip: The trip.
        command: What the driver asks for, held for the tick.
        vehicle: The model of the vehicle, `kinematic` or `dynamic`.

    Returns:
        The trip a tick later.
    """
    ego, traffic, time, dt = trip.ego, trip.traffic, trip.time, TICK / _SUBSTEPS
    alive, collided, lost, progress = trip.alive, trip.collided, trip.lost, trip.progress
    cars = poses(traffic, route.road)
    for _ in range(_SUBSTEPS):
        ego = vehicle(ego, command, dt)
        traffic = advance(traffic, route.road, time, dt)
        cars, time = poses(traffic, route.road), time + dt
        place = locate(route.road, ego.x, ego.y)
        progress = progress + alive * dt * ego.speed * jnp.cos(ego.heading - place.heading)
        going = alive > 0
        hit, out = collides(ego, cars), jnp.abs(place.offset) > OFF_LANE
        collided, lost = collided | (going & hit), lost | (going & out & ~hit)
        alive = jnp.where(hit | out, 0.0, alive)
    now = Snapshot(ego, cars)
    past = jax.tree.map(lambda new, old: jnp.concatenate([new[None], old[:-1]]), now, trip.past)
    return Trip(ego, traffic, past, trip.first, time, alive, collided, lost, progress)


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

    def tick(trip: Trip, key: PRNGKey) -> tuple[Trip, tuple[Array, ...]]:
        command = driver(params, *look(route, trip, condition, key))
        after = move(route, trip, command, vehicle)
        # a drive that has ended stands still
        kept = jax.tree.map(lambda new, old: jnp.where(trip.alive > 0, new, old), after, trip)
        ego = kept.ego
        offset = locate(route.road, ego.x, ego.y).offset
        return kept, (trip.alive, ego.x, ego.y, offset, ego.speed, ego.steering, ego.acceleration, ego.yaw_rate)

    end, traces = jax.lax.scan(tick, start(route), jax.random.split(key, round(seconds / TICK)))
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
