"""Trips over routes: the world tick by tick under commands, with what there was to see of late."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chainlab.driving.road import LANE_WIDTH, Road, locate, sample_road
from chainlab.driving.scene import Snapshot, sample_ego
from chainlab.driving.traffic import Traffic, advance, collides, following_layout, poses, rewind_cars
from chainlab.driving.vehicle import Command, Vehicle, kinematic, rewind
from chainlab.typing import PRNGKey

TICK = 0.2  # between two observations, s
_SUBSTEPS = 2  # of the dynamics in a tick
REMEMBERED = 6  # snapshots
OFF_LANE = LANE_WIDTH / 2  # distance of the rear axle from the lane's centre at which the lane is lost, m


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


def sample_route(key: PRNGKey) -> Route:
    """Draw a route: near the lane's centre, at 6 to 11 m/s, behind traffic and between banks that follow the road.

    Args:
        key: Randomness.

    Returns:
        The route.
    """
    keys = jax.random.split(key, 4)
    road = sample_road(keys[0], banks=True)
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
    past = jax.vmap(ago)(TICK * jnp.arange(REMEMBERED, dtype=jnp.int32).astype(route.ego.x.dtype))
    now, zero = Snapshot(route.ego, cars), jnp.zeros_like(route.ego.x)
    false = jnp.zeros((), bool)
    return Trip(route.ego, route.traffic, past, now, zero, jnp.ones_like(zero), false, false, zero)


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
