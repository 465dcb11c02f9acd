"""The expert that labels states: pure pursuit for steering, the intelligent driver model for acceleration."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.driving.road import Road, centre, locate
from chainlab.driving.traffic import LENGTH, OVERHANG, Cars
from chainlab.driving.vehicle import CAR, Command, Vehicle, into_frame

DESIRED_SPEED = 13.0  # m/s
_HEADWAY, _STANDSTILL, _ACCELERATION, _COMFORTABLE = 1.2, 2.5, 1.5, 2.5  # s, m, m/s^2, m/s^2
_CORRIDOR = 1.5  # half its width, m
_NO_LEAD = 1e4  # m


def pure_pursuit(ego: Vehicle, road: Road, wheelbase: float = CAR.wheelbase) -> Float[Array, ""]:
    r"""Steer along the circle through a point of the lane ahead, $\delta = \arctan(2 L y / (x^2 + y^2))$.

    The look-ahead distance grows with speed, 4 m + 0.7 s $v$.

    Args:
        ego: The ego vehicle.
        road: The road.
        wheelbase: m.

    Returns:
        Angle of the front wheels, rad.

    References:
        Coulter, Implementation of the Pure Pursuit Path Tracking Algorithm, CMU-RI-TR-92-01.
    """
    place = locate(road, ego.x, ego.y)
    x = place.x + (4.0 + 0.7 * ego.speed) * jnp.cos(place.heading)
    forward, left = into_frame(ego, x, centre(road, x)[0])
    return jnp.arctan(2 * wheelbase * left / (forward**2 + left**2))


def lead(
    ego: Vehicle, road: Road, cars: Cars, corridor: Literal["lane", "axis"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Gap to the nearest car ahead in the corridor, and its speed.

    Args:
        ego: The ego vehicle.
        road: The road.
        cars: The other cars.
        corridor: Along the lane, or along the ego's axis (for a layout that knows no lane).

    Returns:
        Bumper to bumper gap in m (10 km without a car), and the lead's speed along the ego's axis in m/s.
    """
    forward, left = into_frame(ego, cars.x, cars.y)
    lateral = left if corridor == "axis" else locate(road, cars.x, cars.y).offset
    gap = forward - LENGTH / 2 - (LENGTH - OVERHANG)  # from the ego's front bumper to the lead's rear one
    ahead = (forward > 0) & (jnp.abs(lateral) < _CORRIDOR)
    distance = jnp.where(ahead, gap, _NO_LEAD)
    first = jnp.argmin(distance)
    along = cars.speed * jnp.cos(cars.heading - ego.heading)
    speed = jnp.where(distance[first] < _NO_LEAD, along[first], ego.speed)
    return jnp.minimum(distance[first], _NO_LEAD), speed


def intelligent_driver(
    speed: Float[Array, ""], gap: Float[Array, ""], lead_speed: Float[Array, ""]
) -> Float[Array, ""]:
    r"""The intelligent driver model, $a (1 - (v/v_0)^4 - (s^*/s)^2)$, within what brakes can do.

    Args:
        speed: Own speed, m/s.
        gap: Bumper to bumper, m.
        lead_speed: Speed of the car ahead, m/s.

    Returns:
        Acceleration, m/s^2, in [-6, 1.5].

    References:
        Treiber, Hennecke and Helbing, Congested traffic states, arXiv:cond-mat/0002177, equations 3 and 4.
    """
    closing = speed * (speed - lead_speed) / (2 * (_ACCELERATION * _COMFORTABLE) ** 0.5)
    wanted = _STANDSTILL + jnp.maximum(_HEADWAY * speed + closing, 0.0)
    free = 1 - (speed / DESIRED_SPEED) ** 4
    return jnp.clip(_ACCELERATION * (free - (wanted / jnp.maximum(gap, 0.5)) ** 2), -6.0, _ACCELERATION)


def expert(ego: Vehicle, road: Road, cars: Cars, corridor: Literal["lane", "axis"] = "lane") -> Command:
    """What the expert would do in a state.

    Args:
        ego: The ego vehicle.
        road: The road.
        cars: The other cars.
        corridor: Where a car ahead counts: along the lane, or along the ego's axis.

    Returns:
        The command.
    """
    return Command(pure_pursuit(ego, road), intelligent_driver(ego.speed, *lead(ego, road, cars, corridor)))
