"""Evaluations of a policy in a condition: open loop by R², closed loop by driven routes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from chainlab.driving.cloning import determination, scaled
from chainlab.driving.conditions import Condition
from chainlab.driving.policy import SCALE, Policy, masked
from chainlab.driving.scene import Layout, Observation, Sample, Scene, sample
from chainlab.driving.scoring import interval, judge, summary
from chainlab.driving.simulation import Driver, expert_driver, network_driver
from chainlab.driving.vehicle import CAR, Command
from chainlab.typing import Params, PRNGKey


def answers(policy: Policy, params: Params, observation: Observation) -> dict[str, Array]:
    """What a policy and its single sensors answer: parts of the fusion, or the policy with the others masked.

    Args:
        policy: The policy.
        params: Its parameters.
        observation: A batch of observations.

    Returns:
        Means in units of `SCALE` by name, `fusion` first.
    """
    fused = policy.apply(params, observation)
    found = {"fusion": fused.command.mean, **{name: part.mean for name, part in fused.parts.items()}}
    if not fused.parts and len(policy.sensors) > 1:
        alone = {s: policy.apply(params, masked(observation, [s])).command.mean for s in policy.sensors}
        found |= alone
    return found


def open_loop(
    policy: Policy,
    params: Params,
    ego: Policy,
    ego_params: Params,
    condition: Condition,
    layout: Layout,
    count: int,
) -> dict[str, Array]:
    """R² of steering and acceleration on fresh states, with the rows that every such table needs.

    Args:
        policy: The policy.
        params: Its parameters.
        ego: A policy that sees its own motion alone.
        ego_params: Its parameters.
        condition: The condition; the states are the same in each.
        layout: How the cars are laid out.
        count: States.

    Returns:
        `<who>_steering` and `<who>_acceleration` for fusion, each single sensor, `ego`, `persistence` (the actuators
        stay as they are) and `best` (the best single sensor), and `margin_<target>`, fusion less best.
    """
    keys = jax.random.split(jax.random.key(1), count)

    def look(key: PRNGKey) -> Sample:
        return sample(key, condition, layout)

    def chunk(keys: Key[Array, " count"]) -> tuple[dict[str, Array], Array]:
        seen = jax.vmap(look)(keys)
        said = answers(policy, params, seen.observation)
        said["ego"] = ego.apply(ego_params, seen.observation).command.mean
        steering = jnp.arctan(CAR.wheelbase * seen.observation.ego[:, 2] / seen.observation.ego[:, 0])
        said["persistence"] = scaled(jnp.stack([steering, seen.observation.ego[:, 1]], axis=-1))
        return said, scaled(seen.command)

    size = min(128, count)
    said, wanted = jax.lax.map(chunk, keys[: count // size * size].reshape(-1, size))
    flat = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    scores = {name: determination(flat(value), flat(wanted)) for name, value in said.items()}
    single = [value for name, value in scores.items() if name not in ("fusion", "ego", "persistence")]
    result = dict(scores)
    if single:
        result["best"] = jnp.max(jnp.stack(single), axis=0)
        result["margin"] = scores["fusion"] - result["best"]
    return {f"{n}_{target}": value[i] for n, value in result.items() for i, target in enumerate(Command._fields)}


def drivers(policy: Policy) -> dict[str, Driver]:
    """A policy as a driver, and each single sensor of it as one.

    Args:
        policy: The policy.

    Returns:
        Drivers by name, `fusion` first; single sensors are named after the sensor (its dense reader where the fusion
        has several).
    """
    found: dict[str, Driver] = {"fusion": network_driver(policy)}
    for sensor in policy.sensors if len(policy.sensors) > 1 else ():
        found[sensor] = _single(policy, sensor)
    return found


def _single(policy: Policy, sensor: Any) -> Driver:
    def driver(params: Params, observation: Observation, scene: Scene) -> Command:
        del scene
        said = answers(policy, params, jax.tree.map(lambda leaf: leaf[None], observation))
        mean = said[f"{sensor}_dense" if f"{sensor}_dense" in said else sensor][0]
        return Command(SCALE[0] * mean[0], SCALE[1] * mean[1])

    return driver


def closed_loop(
    entrants: Mapping[str, tuple[Driver, Params]], condition: Condition, key: PRNGKey, count: int, seconds: float
) -> dict[str, Array]:
    """Drive every entrant and the expert over the same routes.

    Args:
        entrants: Drivers and their parameters by name.
        condition: The condition.
        key: Picks the routes and the noise.
        count: Routes.
        seconds: Length of a route.

    Returns:
        Means over routes as `<who>_<figure>`; bounds of the driving score's interval as `<who>_score_low` and
        `_high`; and `<who>_ratio`, the driving score over the expert's.
    """
    found: dict[str, Array] = {}
    reference = jnp.ones(())
    for name, (driver, params) in {"expert": (expert_driver, None), **entrants}.items():
        scores = judge(driver, params, condition, key, count=count, seconds=seconds)
        found |= {f"{name}_{figure}": value for figure, value in summary(scores).items()}
        low, high = interval(scores.driving_score, key)
        found |= {f"{name}_score_low": low, f"{name}_score_high": high}
        if name == "expert":
            reference = found["expert_driving_score"]
        else:
            found[f"{name}_ratio"] = found[f"{name}_driving_score"] / reference
    return found
