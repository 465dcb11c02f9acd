"""The ego vehicle: a bicycle, kinematic or with tyre forces, behind lagging actuators."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, "*batch"]


class Vehicle(NamedTuple):
    """State of the ego vehicle; the pose is that of the rear axle.

    Attributes:
        x: World x, m.
        y: World y, m.
        heading: Radians, counter-clockwise from world x.
        speed: Forward speed, m/s.
        steering: Angle of the front wheels, rad, left positive.
        acceleration: Longitudinal acceleration, m/s^2.
        lateral_speed: Sideways speed at the centre of gravity, m/s; zero in the kinematic model.
        yaw_rate: Turning rate, rad/s.
    """

    x: Scalar
    y: Scalar
    heading: Scalar
    speed: Scalar
    steering: Scalar
    acceleration: Scalar
    lateral_speed: Scalar
    yaw_rate: Scalar


class Command(NamedTuple):
    """What a driver asks of the actuators.

    Attributes:
        steering: Angle of the front wheels, rad.
        acceleration: Longitudinal acceleration, m/s^2.
    """

    steering: Scalar
    acceleration: Scalar


class Chassis(NamedTuple):
    """Constants of a passenger car, in SI units.

    Attributes:
        wheelbase: Distance between the axles, m.
        front: Distance of the front axle from the centre of gravity, m.
        mass: kg.
        inertia: About the vertical axis, kg m^2.
        front_stiffness: Cornering stiffness of the front axle, N/rad.
        rear_stiffness: Cornering stiffness of the rear axle, N/rad.
        steering_lag: Time constant of the steering actuator, s.
        acceleration_lag: Time constant of engine and brakes, s.
        max_steering: rad.
        max_acceleration: m/s^2.
        max_braking: m/s^2.
    """

    wheelbase: float = 2.8
    front: float = 1.3
    mass: float = 1500.0
    inertia: float = 2500.0
    front_stiffness: float = 9e4
    rear_stiffness: float = 1.1e5
    steering_lag: float = 0.3
    acceleration_lag: float = 0.2
    max_steering: float = 0.5
    max_acceleration: float = 3.0
    max_braking: float = 8.0


CAR = Chassis()


def _actuate(vehicle: Vehicle, command: Command, dt: float, chassis: Chassis) -> tuple[Array, Array, Array]:
    """Steering, acceleration and speed after `dt`: first-order lags towards the bounded command."""
    wanted = jnp.clip(command.steering, -chassis.max_steering, chassis.max_steering)
    steering = vehicle.steering + (1 - jnp.exp(-dt / chassis.steering_lag)) * (wanted - vehicle.steering)
    wanted = jnp.clip(command.acceleration, -chassis.max_braking, chassis.max_acceleration)
    acceleration = vehicle.acceleration + (1 - jnp.exp(-dt / chassis.acceleration_lag)) * (
        wanted - vehicle.acceleration
    )
    return steering, acceleration, jnp.maximum(vehicle.speed + dt * acceleration, 0.0)


def kinematic(vehicle: Vehicle, command: Command, dt: float, chassis: Chassis = CAR) -> Vehicle:
    r"""One step of the kinematic bicycle, $\dot\psi = v \tan\delta / L$, by the midpoint rule.

    Args:
        vehicle: The state.
        command: What the driver asks for.
        dt: Time step, s.
        chassis: The car.

    Returns:
        The state after `dt`.

    Example:
        >>> import jax.numpy as jnp
        >>> zero = jnp.zeros(())
        >>> start = Vehicle(zero, zero, zero, jnp.array(10.0), zero, zero, zero, zero)
        >>> round(float(kinematic(start, Command(zero, zero), 0.1).x), 6)
        1.0
    """
    steering, acceleration, speed = _actuate(vehicle, command, dt, chassis)
    mean = 0.5 * (vehicle.speed + speed)
    rate = mean * jnp.tan(steering) / chassis.wheelbase
    middle = vehicle.heading + 0.5 * dt * rate
    return Vehicle(
        vehicle.x + dt * mean * jnp.cos(middle),
        vehicle.y + dt * mean * jnp.sin(middle),
        vehicle.heading + dt * rate,
        speed,
        steering,
        acceleration,
        jnp.zeros_like(speed),
        rate,
    )


def dynamic(vehicle: Vehicle, command: Command, dt: float, chassis: Chassis = CAR) -> Vehicle:
    r"""One step of the bicycle with linear tyres, whose stiff lateral part is integrated implicitly.

    $$m(\dot v_y + v r) = F_f + F_r, \quad I \dot r = a F_f - b F_r, \quad
    F_f = C_f (\delta - (v_y + a r)/v), \quad F_r = -C_r (v_y - b r)/v.$$

    Args:
        vehicle: The state.
        command: What the driver asks for.
        dt: Time step, s.
        chassis: The car.

    Returns:
        The state after `dt`.

    References:
        Rajamani, Vehicle Dynamics and Control, second edition, section 2.3.
    """
    steering, acceleration, speed = _actuate(vehicle, command, dt, chassis)
    a, b = chassis.front, chassis.wheelbase - chassis.front
    cf, cr, m, inertia = chassis.front_stiffness, chassis.rear_stiffness, chassis.mass, chassis.inertia
    v = jnp.maximum(speed, 1.0)  # the slip angle has no meaning at rest
    # (1 - dt A) z' = z + dt b for z = (v_y, r)
    a11, a12 = 1 + dt * (cf + cr) / (m * v), dt * (speed + (a * cf - b * cr) / (m * v))
    a21, a22 = dt * (a * cf - b * cr) / (inertia * v), 1 + dt * (a**2 * cf + b**2 * cr) / (inertia * v)
    turned = steering * speed / v  # at rest turned wheels push nowhere
    b1, b2 = vehicle.lateral_speed + dt * cf / m * turned, vehicle.yaw_rate + dt * a * cf / inertia * turned
    determinant = a11 * a22 - a12 * a21
    lateral, rate = (a22 * b1 - a12 * b2) / determinant, (a11 * b2 - a21 * b1) / determinant
    middle, mean = vehicle.heading + 0.5 * dt * rate, 0.5 * (vehicle.speed + speed)
    sideways = lateral - b * rate  # at the rear axle, which is what the pose means
    return Vehicle(
        vehicle.x + dt * (mean * jnp.cos(middle) - sideways * jnp.sin(middle)),
        vehicle.y + dt * (mean * jnp.sin(middle) + sideways * jnp.cos(middle)),
        vehicle.heading + dt * rate,
        speed,
        steering,
        acceleration,
        lateral,
        rate,
    )


def rewind(vehicle: Vehicle, seconds: Scalar) -> Vehicle:
    """The pose some time ago, had speed and yaw rate been what they are.

    Args:
        vehicle: The state.
        seconds: How long ago.

    Returns:
        The earlier state.
    """
    middle, distance = vehicle.heading - 0.5 * seconds * vehicle.yaw_rate, seconds * vehicle.speed
    return vehicle._replace(
        x=vehicle.x - distance * jnp.cos(middle),
        y=vehicle.y - distance * jnp.sin(middle),
        heading=vehicle.heading - seconds * vehicle.yaw_rate,
    )


def into_frame(vehicle: Vehicle, x: Array, y: Array) -> tuple[Array, Array]:
    """World points in the vehicle's frame.

    Args:
        vehicle: The vehicle, without batch axes.
        x: World x of the points, m.
        y: World y of the points, m.

    Returns:
        Distance forward and to the left of the rear axle, m.
    """
    c, s, dx, dy = jnp.cos(vehicle.heading), jnp.sin(vehicle.heading), x - vehicle.x, y - vehicle.y
    return c * dx + s * dy, c * dy - s * dx
