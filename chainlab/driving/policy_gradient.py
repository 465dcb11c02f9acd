"""Analytic policy gradient: the cost of a drive, differentiated through policy, sensors and dynamics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from chainlab import nn
from chainlab.driving.cloning import scaled
from chainlab.driving.expert import DESIRED_SPEED, expert, intelligent_driver, lead
from chainlab.driving.fleet import Fleet
from chainlab.driving.policy import SCALE
from chainlab.driving.road import curvature, locate
from chainlab.driving.scene import Observation, Scene
from chainlab.driving.simulation import Driver, Sight, remember, scene_of, see
from chainlab.driving.trip import Route, Trip, move
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


def safe_gap(speed: Float[Array, ""], lead_speed: Float[Array, ""]) -> Float[Array, ""]:
    r"""Gap from which a late driver can stop behind a lead that brakes, $[2 + 0.6\,v + (v^2 - v_l^2) / 2b]_+$.

    Both brake at $b = 5\,\mathrm{m/s^2}$, the ego 0.6 s after the lead, and 2 m are left.

    Args:
        speed: Own speed, m/s.
        lead_speed: Speed of the car ahead, m/s.

    Returns:
        Bumper to bumper, m.

    References:
        Shalev-Shwartz, Shammah and Shashua, On a Formal Model of Safe and Scalable Self-driving Cars,
        arXiv:1708.06374, definition 1 (without acceleration in the response time).

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(safe_gap(jnp.array(10.0), jnp.array(10.0))), 3)
        8.0
    """
    return jnp.maximum(2.0 + 0.6 * speed + (speed**2 - lead_speed**2) / (2 * 5.0), 0.0)


def cost(route: Route, trip: Trip, command: Command, closeness: float = 0.3) -> Float[Array, ""]:
    r"""What a tick costs: straying from the lane's centre and heading, from car following, and being too near.

    $$\rho\!\left(\frac{e_y}{0.25\,\mathrm{m}}\right) + 0.3\,\rho\!\left(\frac{e_\psi}{0.05}\right)
    + 0.3\,(a - a_\text{IDM})^2 + w\,\operatorname{softplus}\!\left(\frac{s_\text{safe} - s}{2\,\mathrm{m}}\right)
    + 0.1\,[v - v_0]_+^2 + 0.01\,\Delta\delta^2,$$

    where $\rho(e) = e^2 / \sqrt{1 + e^2 / 16}$ counts what is far off like an absolute value.

    Args:
        route: The route.
        trip: The trip after the tick.
        command: What the driver asked for.
        closeness: Weight $w$ of the gap $s$ to the car ahead falling short of `safe_gap`.

    Returns:
        The cost.
    """
    ego, cars = trip.ego, jax.tree.map(lambda leaf: leaf[0], trip.past.cars)
    place = locate(route.road, ego.x, ego.y)
    lane = _robust(place.offset / 0.25) + 0.3 * _robust((ego.heading - place.heading) / 0.05)
    gap, other = lead(ego, route.road, cars, "lane")
    following = (ego.acceleration - intelligent_driver(ego.speed, gap, other)) ** 2
    near = jax.nn.softplus((safe_gap(ego.speed, other) - gap) / 2.0)
    pace = jnp.maximum(ego.speed - DESIRED_SPEED, 0.0) ** 2
    wheels = ((command.steering - ego.steering) / SCALE[0]) ** 2
    return lane + 0.3 * following + closeness * near + 0.1 * pace + 0.01 * wheels


def _robust(error: Array) -> Array:
    square = error**2
    return square / jnp.sqrt(1 + square / 16)


class Stretch(NamedTuple):
    """A stretch of a drive.

    Attributes:
        cost: Mean over its ticks.
        lateral: Mean distance from the lane's centre, m.
        end: The trip at its end.
    """

    cost: Float[Array, "*batch"]
    lateral: Float[Array, "*batch"]
    end: Trip


def drive_on(
    driver: Driver,
    params: Params,
    drive: Fleet,
    key: PRNGKey,
    *,
    ticks: int,
    truncation: int | None = None,
    closeness: float = 0.3,
    vehicle: Any = kinematic,
) -> Stretch:
    """The next ticks of a drive and what they cost, differentiable end to end.

    Sensors and policy are computed again in the backward pass, so that memory holds states alone.

    Args:
        driver: Who drives.
        params: Its parameters.
        drive: A single drive, wherever it stands.
        key: Randomness of the sensors.
        ticks: How far to drive on.
        truncation: Ticks after which the gradient through the state is cut; never where None.
        closeness: Weight of being too near to the car ahead.
        vehicle: The model of the vehicle.

    Returns:
        What was driven.

    Raises:
        UsageError: `truncation` does not divide `ticks`.
    """
    span = truncation or ticks
    if ticks % span:
        raise UsageError(f"truncation must divide the {ticks} ticks of a drive, got {span}")
    route, trip, condition = drive

    @jax.checkpoint
    def tick(carry: tuple[Trip, Sight], key: PRNGKey) -> tuple[tuple[Trip, Sight], tuple[Array, Array]]:
        trip, sight = carry
        sight, observation = see(route, trip, sight, condition, key)
        command = driver(params, observation, scene_of(route, trip))
        trip = move(route, trip, command, vehicle)
        lateral = jnp.abs(locate(route.road, trip.ego.x, trip.ego.y).offset)
        return (trip, sight), (cost(route, trip, command, closeness), lateral)

    def stretch(carry: tuple[Trip, Sight], keys: Key[Array, " time"]) -> Any:
        return jax.lax.scan(tick, jax.lax.stop_gradient(carry), keys)

    first, rest = jax.random.split(key)
    keys = jax.random.split(rest, ticks).reshape(ticks // span, span)
    (end, _), (costs, lateral) = jax.lax.scan(stretch, (trip, remember(route, trip, condition, first)), keys)
    return Stretch(jnp.mean(costs), jnp.mean(lateral), end)


def analytic_policy_gradient(
    driver: Driver,
    *,
    ticks: int,
    truncation: int | None = None,
    closeness: float = 0.3,
    worst: float = 50.0,
    vehicle: Any = kinematic,
) -> Callable[[Params, tuple[Fleet, Key[Array, " drives"]], PRNGKey], tuple[Array, tuple[Fleet, Metrics]]]:
    """The objective of analytic policy gradient: what the next ticks of a fleet's drives cost.

    The fleet that it gives back goes on where this one stops, so that short stretches, whose gradients are healthy,
    still meet everything that happens on a long drive.

    Args:
        driver: Who drives.
        ticks: Length of a stretch.
        truncation: Ticks after which the gradient through the state is cut; never where None.
        closeness: Weight of being too near to the car ahead.
        worst: Cost at which a single drive's gradient is scaled down, so that one lost drive does not rule the batch.
        vehicle: The model of the vehicle.

    Returns:
        `objective(params, (fleet, keys), key) -> (cost, (fleet, metrics))`.

    References:
        Nachkov, Paudel and Van Gool, Autonomous Vehicle Controllers From End-to-End Differentiable Simulation,
        arXiv:2409.07965; Xu et al., Accelerated Policy Learning with Parallel Differentiable Simulation,
        arXiv:2204.07137, for stretches that go on where the last one stopped.
    """

    def objective(
        params: Params, batch: tuple[Fleet, Key[Array, " drives"]], key: PRNGKey
    ) -> tuple[Array, tuple[Fleet, Metrics]]:
        del key
        drives, keys = batch

        def one(drive: Fleet, key: PRNGKey) -> Stretch:
            return drive_on(
                driver, params, drive, key, ticks=ticks, truncation=truncation, closeness=closeness, vehicle=vehicle
            )

        driven = jax.vmap(one)(drives, keys)
        bounded = driven.cost / jax.lax.stop_gradient(jnp.maximum(driven.cost / worst, 1.0))
        return jnp.mean(bounded), (drives._replace(trip=driven.end), {"lateral": jnp.mean(driven.lateral)})

    return objective
