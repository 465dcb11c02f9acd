"""Scenes and what the sensors see of them: labelled states, observations of two moments, and the oracle's bound."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.driving.camera import render
from chainlab.driving.conditions import Condition, health
from chainlab.driving.expert import expert
from chainlab.driving.lidar import sweep
from chainlab.driving.rig import RIG, Rig
from chainlab.driving.road import Road, at, sample_road
from chainlab.driving.traffic import Cars, following_layout, independent_layout, poses, rewind_cars
from chainlab.driving.vehicle import CAR, Command, Vehicle, into_frame, rewind
from chainlab.typing import PRNGKey

HISTORY = 0.4  # between the two moments of an observation, s
Layout = Literal["independent", "following"]


class Snapshot(NamedTuple):
    """The moving part of a scene at one moment."""

    ego: Vehicle
    cars: Cars


class Scene(NamedTuple):
    """A road and what is on it now."""

    road: Road
    now: Snapshot


class Moments(NamedTuple):
    """What each sensor looks at: two snapshots, earlier and later, stacked on the leading axis."""

    camera: Snapshot
    lidar: Snapshot


class Observation(NamedTuple):
    """What a policy sees.

    Attributes:
        camera: Two frames, earlier and later.
        lidar: Ranges of two sweeps, m.
        ego: Speed in m/s, acceleration in m/s^2, yaw rate in rad/s.
        present: 1 for a sensor that delivers at all, 0 for one that is known to be missing (camera, LiDAR).
    """

    camera: Float[Array, "*batch 2 rows columns"]
    lidar: Float[Array, "*batch 2 rings beams"]
    ego: Float[Array, "*batch 3"]
    present: Float[Array, "*batch 2"]


def stack(earlier: Snapshot, later: Snapshot) -> Snapshot:
    """Two snapshots on a leading axis."""
    return jax.tree.map(lambda a, b: jnp.stack([a, b]), earlier, later)


def moments(now: Snapshot, condition: Condition) -> Moments:
    """The moments that the sensors look at, had everything moved as it does now.

    A frozen camera repeats one frame of age `condition.frozen`; a skewed LiDAR is `condition.skew` late.

    Args:
        now: The present.
        condition: The condition.

    Returns:
        The moments.
    """

    def ago(seconds: Array) -> Snapshot:
        return Snapshot(rewind(now.ego, seconds), rewind_cars(now.cars, seconds))

    frozen, skew = jnp.asarray(condition.frozen), jnp.asarray(condition.skew)
    before = jnp.where(frozen > 0, frozen, HISTORY)
    return Moments(stack(ago(before), ago(frozen)), stack(ago(skew + HISTORY), ago(skew)))


def observe(
    road: Road,
    seen: Moments,
    ego: Vehicle,
    condition: Condition,
    key: PRNGKey,
    rig: Rig = RIG,
) -> Observation:
    """Render what the sensors see.

    Args:
        road: The road.
        seen: What each sensor looks at.
        ego: The ego vehicle now, for its own motion.
        condition: The condition.
        key: Randomness of the sensors.
        rig: The sensors.

    Returns:
        The observation.
    """
    keys = jax.random.split(key, 4)
    frames = jax.vmap(lambda s, k: render(road, s.ego, s.cars, condition, k, rig.camera))
    sweeps = jax.vmap(lambda s, k: sweep(s.ego, s.cars, condition, k, rig.lidar, road))
    # a frozen camera repeats its noise as well
    keys = keys.at[1].set(
        jax.random.wrap_key_data(
            jnp.where(jnp.asarray(condition.frozen) > 0, jax.random.key_data(keys[0]), jax.random.key_data(keys[1]))
        )
    )
    own = own_motion(ego)
    return Observation(frames(seen.camera, keys[:2]), sweeps(seen.lidar, keys[2:]), own, jnp.ones_like(own[:2]))


def own_motion(ego: Vehicle) -> Float[Array, "3"]:
    """Speed in m/s, acceleration in m/s^2 and yaw rate in rad/s: what the ego observes of itself."""
    return jnp.stack([ego.speed, ego.acceleration, ego.yaw_rate])


def sample_ego(key: PRNGKey, road: Road, spread: float = 1.0) -> Vehicle:
    """Draw an ego state beside the lane's centre, at any speed, with wheels turned independently of the road.

    Args:
        key: Randomness.
        road: The road.
        spread: Factor on the offsets from the lane: up to 1.2 m and 0.1 rad.

    Returns:
        The vehicle.
    """
    keys = jax.random.split(key, 6)
    offset = spread * jax.random.uniform(keys[0], (), minval=-1.2, maxval=1.2)
    x, y, heading = at(road, jax.random.uniform(keys[1], (), maxval=400.0), offset)
    heading = heading + spread * jax.random.uniform(keys[2], (), minval=-0.1, maxval=0.1)
    speed = jax.random.uniform(keys[3], (), minval=2.0, maxval=15.0)
    steering = 0.03 * jax.random.normal(keys[4], ())
    acceleration = jax.random.normal(keys[5], ())
    rate = speed * jnp.tan(steering) / CAR.wheelbase
    return Vehicle(x, y, heading, speed, steering, acceleration, jnp.zeros_like(speed), rate)


def sample_scene(key: PRNGKey, layout: Layout) -> Scene:
    """Draw a scene.

    Args:
        key: Randomness.
        layout: Cars independent of the road on flat land, or traffic and banks that follow it.

    Returns:
        The scene.
    """
    keys = jax.random.split(key, 3)
    road = sample_road(keys[0], banks=layout == "following")
    ego = sample_ego(keys[1], road)
    if layout == "independent":
        return Scene(road, Snapshot(ego, independent_layout(keys[2], ego)))
    return Scene(road, Snapshot(ego, poses(following_layout(keys[2], ego.x), road)))


def sample_scenes(key: PRNGKey, count: int) -> Scene:
    """Scenes with traffic that follows the road.

    Args:
        key: Randomness.
        count: How many.

    Returns:
        Scenes stacked on the leading axis.
    """
    return jax.vmap(lambda k: sample_scene(k, "following"))(jax.random.split(key, count))


def label(scene: Scene, layout: Layout) -> Float[Array, "2"]:
    """The expert's steering (rad) and acceleration (m/s^2) in a scene.

    Args:
        scene: The scene.
        layout: In which corridor a car ahead counts: along the ego's axis where the layout knows no lane.

    Returns:
        The command.
    """
    return jnp.stack(expert(scene.now.ego, scene.road, scene.now.cars, "axis" if layout == "independent" else "lane"))


class Sample(NamedTuple):
    """A labelled state.

    Attributes:
        observation: What the sensors see.
        command: The expert's steering in rad and acceleration in m/s^2.
        health: How sound camera and LiDAR are.
        cars: Each car's forward and left distance in m and speed in m/s: what an oracle knows.
    """

    observation: Observation
    command: Float[Array, "*batch 2"]
    health: Float[Array, "*batch 2"]
    cars: Float[Array, "*batch cars 3"]


def sample(key: PRNGKey, condition: Condition, layout: Layout) -> Sample:
    """Draw a labelled state under a condition.

    Args:
        key: Randomness.
        condition: The condition.
        layout: How the cars are laid out.

    Returns:
        The sample.
    """
    scene_key, noise_key = jax.random.split(key)
    scene = sample_scene(scene_key, layout)
    ego, cars = scene.now
    observation = observe(scene.road, moments(scene.now, condition), ego, condition, noise_key)
    positions = jnp.stack([*into_frame(ego, cars.x, cars.y), cars.speed], axis=-1)
    return Sample(observation, label(scene, layout), health(condition), positions)


def oracle(train: Sample, test: Sample) -> dict[str, float]:
    """How much of each command the exact positions of the cars tell: the bound of a sensor blind to the road.

    Boosted trees on every car's position and speed, sorted by distance, and the ego's own motion.

    Args:
        train: Samples to fit.
        test: Samples to score.

    Returns:
        R² of `steering` and `acceleration`.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    def features(samples: Sample) -> np.ndarray:
        cars = np.asarray(samples.cars)
        order = np.argsort(np.hypot(cars[..., 0], cars[..., 1]), axis=1)
        nearest = np.clip(np.take_along_axis(cars, order[..., None], axis=1), -200, 200)
        return np.concatenate([nearest.reshape(len(cars), -1), np.asarray(samples.observation.ego)], axis=1)

    found = {}
    for index, name in enumerate(Command._fields):
        trees = HistGradientBoostingRegressor(random_state=0)
        trees.fit(features(train), np.asarray(train.command)[:, index])
        found[name] = float(trees.score(features(test), np.asarray(test.command)[:, index]))
    return found
