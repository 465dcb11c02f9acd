"""Other cars: two layouts, one independent of the road and one that follows it, and how they move."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chainlab.driving.road import LANE_WIDTH, Road, at
from chainlab.driving.vehicle import Vehicle, into_frame
from chainlab.typing import PRNGKey

LENGTH, WIDTH, HEIGHT = 4.5, 1.8, 1.5  # of every car, m
OVERHANG = 0.9  # of the body behind the rear axle, m
CARS = 4
_FAR = 1e4  # where a car that is not there stands, m


class Cars(NamedTuple):
    """Poses of the other cars (centre of the box) in the world frame.

    Attributes:
        x: m.
        y: m.
        heading: rad.
        speed: m/s along the heading.
        shade: Brightness of the body in [0, 1].
    """

    x: Float[Array, " cars"]
    y: Float[Array, " cars"]
    heading: Float[Array, " cars"]
    speed: Float[Array, " cars"]
    shade: Float[Array, " cars"]


class Traffic(NamedTuple):
    """Cars that follow the road, the first of them as the lead, which brakes hard once.

    Attributes:
        x: World x of each foot point on the centre line, m.
        offset: Distance left of the centre line, m.
        speed: m/s, negative for oncoming cars.
        cruise: Speed that each returns to, m/s.
        shade: Brightness of the body in [0, 1].
        brake_time: When the lead starts to brake, s.
        brake_length: How long it does, s.
    """

    x: Float[Array, " cars"]
    offset: Float[Array, " cars"]
    speed: Float[Array, " cars"]
    cruise: Float[Array, " cars"]
    shade: Float[Array, " cars"]
    brake_time: Float[Array, ""]
    brake_length: Float[Array, ""]


def rewind_cars(cars: Cars, seconds: Float[Array, ""]) -> Cars:
    """Where the cars were some time ago at their present speed.

    Args:
        cars: The cars.
        seconds: How long ago.

    Returns:
        The earlier poses.
    """
    distance = seconds * cars.speed
    return cars._replace(x=cars.x - distance * jnp.cos(cars.heading), y=cars.y - distance * jnp.sin(cars.heading))


def independent_layout(key: PRNGKey, ego: Vehicle) -> Cars:
    """Cars laid out along the ego's own axis: nothing about them tells where the lane is.

    In seven of ten cases there is a car in the ego's corridor (within 0.6 m of its axis, 6 to 50 m ahead); the
    others stand well beside it.

    Args:
        key: Randomness.
        ego: The ego vehicle.

    Returns:
        The cars.
    """
    keys = jax.random.split(key, 8)
    gap = jax.random.uniform(keys[0], (CARS,), minval=6.0, maxval=50.0)
    side = jnp.where(jax.random.bernoulli(keys[1], 0.5, (CARS,)), 1.0, -1.0)
    lateral = side * jax.random.uniform(keys[2], (CARS,), minval=2.6, maxval=9.0)
    lateral = lateral.at[0].set(jax.random.uniform(keys[3], (), minval=-0.6, maxval=0.6))
    there = jax.random.bernoulli(keys[4], 0.7, (CARS,))
    forward = jnp.where(there, gap + LENGTH / 2 + 3.5, -_FAR)
    c, s = jnp.cos(ego.heading), jnp.sin(ego.heading)
    heading = ego.heading + 0.05 * jax.random.normal(keys[5], (CARS,))
    return Cars(
        ego.x + c * forward - s * lateral,
        ego.y + s * forward + c * lateral,
        heading,
        jax.random.uniform(keys[6], (CARS,), maxval=15.0),
        jax.random.uniform(keys[7], (CARS,), minval=0.08, maxval=0.75),
    )


def following_layout(key: PRNGKey, x: Float[Array, ""]) -> Traffic:
    """Traffic that follows the road: a lead in the ego's lane, two oncoming cars, one parked beside the road.

    Args:
        key: Randomness.
        x: World x of the ego, m.

    Returns:
        The traffic.
    """
    keys = jax.random.split(key, 8)
    ahead = jax.random.uniform(
        keys[0], (CARS,), minval=jnp.asarray([15.0, 30.0, 90.0, 25.0]), maxval=jnp.asarray([45.0, 90.0, 200.0, 120.0])
    )
    lane = jnp.asarray([0.0, LANE_WIDTH, LANE_WIDTH, -LANE_WIDTH])
    offset = lane + jax.random.uniform(keys[1], (CARS,), minval=-0.4, maxval=0.4)
    cruise = jax.random.uniform(keys[2], (CARS,), minval=8.0, maxval=12.0) * jnp.asarray([1.0, -1.0, -1.0, 0.0])
    there = jax.random.bernoulli(keys[3], 0.8, (CARS,))
    return Traffic(
        x + jnp.where(there, ahead, -_FAR),
        offset,
        cruise,
        cruise,
        jax.random.uniform(keys[4], (CARS,), minval=0.08, maxval=0.75),
        jax.random.uniform(keys[5], (), minval=2.0, maxval=16.0),
        jax.random.uniform(keys[6], (), minval=1.0, maxval=3.0),
    )


def poses(traffic: Traffic, road: Road) -> Cars:
    """World poses of traffic that follows a road.

    Args:
        traffic: The traffic.
        road: The road.

    Returns:
        The cars.
    """
    x, y, heading = at(road, traffic.x, traffic.offset)
    return Cars(x, y, heading, traffic.speed, traffic.shade)


def advance(traffic: Traffic, road: Road, time: Float[Array, ""], dt: float) -> Traffic:
    """One time step: the lead brakes at 5 m/s^2 in its interval and returns to its cruise at 2 m/s^2.

    Args:
        traffic: The traffic.
        road: The road.
        time: Seconds since the start.
        dt: Time step, s.

    Returns:
        The traffic after `dt`.
    """
    braking = (time >= traffic.brake_time) & (time < traffic.brake_time + traffic.brake_length)
    lead = jnp.arange(CARS, dtype=jnp.int32) == 0
    slower = jnp.maximum(traffic.speed - 5 * dt, 0.0)
    faster = traffic.speed + jnp.clip(traffic.cruise - traffic.speed, -2 * dt, 2 * dt)
    speed = jnp.where(lead & braking, slower, faster)
    _, _, heading = at(road, traffic.x, traffic.offset)
    return traffic._replace(x=traffic.x + dt * speed * jnp.cos(heading), speed=speed)


def collides(ego: Vehicle, cars: Cars) -> Bool[Array, ""]:
    """Whether the ego's box overlaps a car's, both taken along the ego's axis.

    Args:
        ego: The ego vehicle.
        cars: The other cars.

    Returns:
        True where it hits one.
    """
    forward, left = into_frame(ego, cars.x, cars.y)
    return jnp.any((jnp.abs(forward - (LENGTH / 2 - OVERHANG)) < LENGTH) & (jnp.abs(left) < WIDTH))
