"""Analytic policy gradient: the cost of a drive, differentiated through policy, sensors and dynamics."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from chainlab import nn
from chainlab.driving.cloning import scaled
from chainlab.driving.conditions import Condition
from chainlab.driving.expert import DESIRED_SPEED, expert, intelligent_driver, lead
from chainlab.driving.policy import SCALE
from chainlab.driving.road import curvature, locate
from chainlab.driving.scene import Observation, Scene
from chainlab.driving.simulation import Driver, Sight, remember, scene_of, see
from chainlab.driving.trip import TICK, Route, Trip, move, start
from chainlab.driving.vehicle import Command, kinematic
from chainlab.errors import UsageError
from chainlab.nn import Model
from chainlab.typing import Metrics, Objective, Params, PRNGKey

FEATURES = 11


def privileged(scene: Scene) -> Float[Array, "11"]:
    """What a driver would like to know, at the scale of one: place on the road, bends ahead, own motion, the lead.

    Args:
        scene: The scene.

    Returns:
        Offset, heading error, curvature at 0, 8, 16 and 24 m, speed, steering, acceleration, gap and closing speed.
    """
    ego, cars = scene.now
    place = locate(scene.road, ego.x, ego.y)
    ahead = place.x + jnp.asarray([0.0, 8.0, 16.0, 24.0], ego.x.dtype) * jnp.cos(place.heading)
    gap, other = lead(ego, scene.road, cars, "lane")
    return jnp.concatenate(
        [
            jnp.stack([place.offset, 10 * (ego.heading - place.heading)]),
            100 * curvature(scene.road, ahead),
            jnp.stack(
                [
                    (ego.speed - 8) / 4,
                    ego.steering / SCALE[0],
                    ego.acceleration / SCALE[1],
                    20 / (10 + jnp.maximum(gap, 0.0)),
                    (ego.speed - other) / 4,
                ]
            ),
        ]
    )


def privileged_network(hidden: int = 64) -> Model:
    """A perceptron from `privileged` features to a command in units of `SCALE`."""
    net = nn.mlp([FEATURES, hidden, hidden, 2], activation="tanh")

    def init(key: PRNGKey) -> Params:
        params = net.init(key)
        params["dense2"]["weight"] = 0.1 * params["dense2"]["weight"]  # start by doing little
        return params

    return Model(init, net.apply)


def privileged_driver(net: Model) -> Driver:
    """A network over privileged features as a driver."""

    def driver(params: Params, observation: Observation, scene: Scene) -> Command:
        del observation
        answer = net.apply(params, privileged(scene))
        return Command(SCALE[0] * answer[0], SCALE[1] * answer[1])

    return driver


def privileged_cloning(net: Model) -> Objective:
    """Behaviour cloning from privileged states: mean squared error on batches of `Scene`."""

    def objective(params: Params, batch: Scene, key: PRNGKey) -> tuple[Array, Metrics]:
        del key
        answer = net.apply(params, jax.vmap(privileged)(batch))
        wanted = jax.vmap(lambda s: jnp.stack(expert(s.now.ego, s.road, s.now.cars, "lane")))(batch)
        loss = jnp.mean((answer - scaled(wanted)) ** 2)
        return loss, {}

    return objective


def cost(route: Route, trip: Trip, command: Command) -> Float[Array, ""]:
    r"""What a tick costs: $(e_y / 0.25\,\mathrm{m})^2$, straying from car following, and restless wheels.

    Args:
        route: The route.
        trip: The trip after the tick.
        command: What the driver asked for.

    Returns:
        The cost; the distance from the lane's centre counts like an absolute value beyond 1 m.
    """
    ego, cars = trip.ego, jax.tree.map(lambda leaf: leaf[0], trip.past.cars)
    place = locate(route.road, ego.x, ego.y)
    square = (place.offset / 0.25) ** 2
    lane = square / jnp.sqrt(1 + square / 16)
    wanted = intelligent_driver(ego.speed, *lead(ego, route.road, cars, "lane"))
    following = (ego.acceleration - wanted) ** 2
    pace = jnp.maximum(ego.speed - DESIRED_SPEED, 0.0) ** 2
    wheels = ((command.steering - ego.steering) / SCALE[0]) ** 2
    return lane + 0.3 * following + 0.1 * pace + 0.01 * wheels


def drive_cost(
    driver: Driver,
    params: Params,
    route: Route,
    condition: Condition,
    key: PRNGKey,
    *,
    ticks: int,
    truncation: int | None = None,
    vehicle: Any = kinematic,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean cost and mean distance from the lane's centre of a drive, differentiable end to end.

    Sensors and policy are computed again in the backward pass, so that memory holds states alone.

    Args:
        driver: Who drives.
        params: Its parameters.
        route: The route.
        condition: The condition.
        key: Randomness of the sensors.
        ticks: Length of the drive.
        truncation: Ticks after which the gradient through the state is cut; never where None.
        vehicle: The model of the vehicle.

    Returns:
        The cost, and the distance in m.

    Raises:
        UsageError: `truncation` does not divide `ticks`.
    """
    span = truncation or ticks
    if ticks % span:
        raise UsageError(f"truncation must divide the {ticks} ticks of a drive, got {span}")

    @jax.checkpoint
    def tick(carry: tuple[Trip, Sight], key: PRNGKey) -> tuple[tuple[Trip, Sight], tuple[Array, Array]]:
        trip, sight = carry
        sight, observation = see(route, trip, sight, condition, key)
        command = driver(params, observation, scene_of(route, trip))
        trip = move(route, trip, command, vehicle)
        lateral = jnp.abs(locate(route.road, trip.ego.x, trip.ego.y).offset)
        return (trip, sight), (cost(route, trip, command), lateral)

    def stretch(carry: tuple[Trip, Sight], keys: Key[Array, " time"]) -> Any:
        return jax.lax.scan(tick, jax.lax.stop_gradient(carry), keys)

    first, rest = jax.random.split(key)
    trip, keys = start(route), jax.random.split(rest, ticks).reshape(ticks // span, span)
    _, (costs, lateral) = jax.lax.scan(stretch, (trip, remember(route, trip, condition, first)), keys)
    return jnp.mean(costs), jnp.mean(lateral)


def analytic_policy_gradient(
    driver: Driver, *, ticks: int, truncation: int | None = None, worst: float = 50.0, vehicle: Any = kinematic
) -> Objective:
    """The objective of analytic policy gradient, on batches of routes, conditions and keys.

    Args:
        driver: Who drives.
        ticks: Length of a drive.
        truncation: Ticks after which the gradient through the state is cut; never where None.
        worst: Cost at which a single route's gradient is scaled down, so that one lost route does not rule the batch.
        vehicle: The model of the vehicle.

    Returns:
        An objective over batches `(routes, conditions, keys)`.

    References:
        Nachkov, Paudel and Van Gool, Autonomous Vehicle Controllers From End-to-End Differentiable Simulation,
        arXiv:2409.07965.
    """

    def objective(
        params: Params, batch: tuple[Route, Condition, Key[Array, " routes"]], key: PRNGKey
    ) -> tuple[Array, Metrics]:
        del key
        route, condition, keys = batch

        def one(route: Route, condition: Condition, key: PRNGKey) -> tuple[Array, Array]:
            return drive_cost(
                driver, params, route, condition, key, ticks=ticks, truncation=truncation, vehicle=vehicle
            )

        costs, lateral = jax.vmap(one)(route, condition, keys)
        bounded = costs / jax.lax.stop_gradient(jnp.maximum(costs / worst, 1.0))
        return jnp.mean(bounded), {"lateral": jnp.mean(lateral), "route_seconds": jnp.asarray(ticks * TICK)}

    return objective
