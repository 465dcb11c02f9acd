"""The world: geometry against numbers worked out apart, sensors against scenes that are known, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import driving
from chainlab.driving.lidar import LIDAR
from chainlab.errors import UsageError

ZERO = jnp.zeros(())
FLAT = driving.Road(jnp.zeros(3), jnp.ones(3), jnp.zeros(3))
BANKS = jnp.array([6.5, 5.5])


def ego(**changes):
    return driving.Vehicle(*[jnp.zeros(())] * 8)._replace(**{k: jnp.asarray(v) for k, v in changes.items()})


def car(x, y=0.0, heading=0.0, speed=0.0):
    return driving.Cars(*(jnp.array([value]) for value in (x, y, heading, speed, 0.2)))


@pytest.mark.slow
def test_foot_points_are_nearest(x64):
    road = driving.sample_road(jax.random.key(3))
    x, y, heading = driving.at(road, jnp.array(120.0), jnp.array(2.0))
    place = driving.locate(road, x, y)
    along = jnp.linspace(100, 140, 40001)
    height, _ = driving.centre(road, along)
    distance = jnp.sqrt((along - x) ** 2 + (height - y) ** 2)
    assert float(place.offset) == pytest.approx(float(jnp.min(distance)), abs=1e-3)
    assert float(place.heading) == pytest.approx(float(heading), abs=1e-3)
    curved = jax.vmap(jax.grad(lambda t: jnp.arctan(driving.centre(road, t)[1])))(along[::8000])
    _, slope = driving.centre(road, along[::8000])
    np.testing.assert_allclose(driving.curvature(road, along[::8000]), curved / jnp.sqrt(1 + slope**2), rtol=1e-9)


@pytest.mark.parametrize("step", [driving.kinematic, driving.dynamic])
def test_a_turn_closes_its_circle(step, x64):
    """Driven at constant steering, a car returns to where it was after 2 pi R / v."""
    start = ego(speed=5.0, steering=0.2)
    command = driving.Command(jnp.array(0.2), jnp.array(0.0))
    settled = jax.lax.fori_loop(0, 500, lambda _, v: step(v, command, 0.01), start)
    period = 2 * np.pi / float(settled.yaw_rate)
    steps = round(period / 0.001)
    end = jax.lax.fori_loop(0, steps, lambda _, v: step(v, command, 0.001), settled)
    assert float(jnp.hypot(end.x - settled.x, end.y - settled.y)) < 0.02
    radius = 5.0 / float(settled.yaw_rate)
    wanted = 2.8 / np.tan(0.2)
    assert radius == pytest.approx(wanted, rel=1e-6 if step is driving.kinematic else 0.1)


def test_actuators_lag():
    after = driving.kinematic(ego(speed=10.0), driving.Command(jnp.array(0.1), jnp.array(-20.0)), 0.3)
    assert float(after.steering) == pytest.approx(0.1 * (1 - np.exp(-1)), rel=1e-5)
    assert float(after.acceleration) == pytest.approx(-8.0 * (1 - np.exp(-1.5)), rel=1e-5)  # the brakes' bound


def test_the_expert_steers_home_and_brakes():
    expert = jax.jit(driving.expert)
    left = expert(ego(speed=10.0, y=1.0), FLAT, car(-1e4))
    assert float(left.steering) < 0
    assert float(left.acceleration) == pytest.approx(1.5 * (1 - (10 / 13) ** 4), rel=1e-5)
    gap = 30.0 - 4.5 / 2 - 3.6
    want = 1.5 * (1 - (10 / 13) ** 4 - ((2.5 + 12 + 10 * 5 / (2 * np.sqrt(3.75))) / gap) ** 2)
    ahead = expert(ego(speed=10.0), FLAT, car(30.0, speed=5.0))
    assert float(ahead.acceleration) == pytest.approx(want, rel=1e-5)
    beside = expert(ego(speed=10.0), FLAT, car(30.0, y=3.5))
    assert float(beside.acceleration) == pytest.approx(1.5 * (1 - (10 / 13) ** 4), rel=1e-5)


def test_lidar_ranges_are_geometry():
    """A car dead ahead at 20 m: the beams in the middle read its rear plane, the others flat ground."""
    clear = driving.condition("clear")
    sweep = jax.jit(driving.sweep)
    ranges = sweep(ego(), car(20.0), clear, jax.random.key(0))
    rear = 20.0 - 2.25 - LIDAR.forward
    np.testing.assert_allclose(ranges[2, 31:33], rear / np.cos(np.radians(3.0)), atol=0.15)
    np.testing.assert_allclose(ranges[0, :3], 1.8 / np.sin(np.radians(10)), atol=0.15)
    np.testing.assert_allclose(ranges[3, 0], 70.0)
    cloud = driving.points(ranges)
    np.testing.assert_allclose(cloud[0, :, 2], 0.0, atol=0.05)  # that ring meets the ground in front of the car
    np.testing.assert_allclose(cloud[2, 31:33, 0], 20 - 2.25, atol=0.15)
    assert np.all(sweep(ego(), car(20.0), driving.condition("lidar_empty"), jax.random.key(0)) == 70)


def test_lidar_sees_banks_where_they_rise():
    """Half a metre left on a straight road between banks: each beam reads the nearer bank, its top, or the ground."""
    ranges = jax.jit(driving.sweep)(
        ego(y=0.5), car(-1e4), driving.condition("clear"), jax.random.key(0), road=FLAT._replace(banks=BANKS)
    )
    azimuth, down = LIDAR.azimuth[None, :], np.tan(np.radians(-np.asarray(LIDAR.elevation)))[:, None]
    aside = np.where(azimuth > 0, 6.5 - 0.5, 5.5 + 0.5)
    face = np.clip(aside / np.abs(np.sin(azimuth)), (1.8 - 0.8) / down, 1.8 / down)
    wanted = np.minimum(face / np.cos(np.arctan(down)), LIDAR.reach)
    np.testing.assert_allclose(ranges, wanted, atol=0.15)
    assert np.sum(face < 1.8 / down) > 64


@pytest.mark.slow
def test_banks_follow_the_bends_and_are_missing_where_there_are_none():
    road = driving.sample_road(jax.random.key(5))._replace(banks=BANKS)
    x, y, heading = driving.at(road, jnp.array(50.0), jnp.array(0.3))
    own, clear, key = ego(x=x, y=y, heading=heading + 0.05), driving.condition("clear"), jax.random.key(0)
    sweep = jax.jit(driving.sweep)
    ranges = sweep(own, car(-1e4), clear, key, road=road)
    cloud = driving.points(ranges)
    c, s = jnp.cos(own.heading), jnp.sin(own.heading)
    place = driving.locate(road, x + c * cloud[..., 0] - s * cloud[..., 1], y + s * cloud[..., 0] + c * cloud[..., 1])
    on_face = (ranges < LIDAR.reach) & (cloud[..., 2] > 0.05) & (cloud[..., 2] < 0.75)
    assert int(jnp.sum(on_face)) > 40
    foot = jnp.where(place.offset > 0, place.offset - BANKS[0], -place.offset - BANKS[1])
    assert float(jnp.max(jnp.abs(jnp.where(on_face, foot, 0.0)))) < 0.4
    none = sweep(own, car(-1e4), clear, key, road=road._replace(banks=jnp.full(2, 1e3)))
    np.testing.assert_array_equal(none, sweep(own, car(-1e4), clear, key))


def test_camera_shows_the_lane_where_it_is():
    """On a straight road the right edge line passes where a ray through it is, for the ego's offset and a turn."""
    clear, key, render = driving.condition("clear"), jax.random.key(0), jax.jit(driving.render)
    for offset, turn in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.05)):
        image = render(FLAT, ego(y=offset, heading=turn), car(-1e4), clear, key)
        row = 21  # its centre is 11.5 pixels below the horizon
        forward = 1.4 * 50 / 11.5
        right = (1.75 + offset + turn * (forward + 1.5)) / np.cos(turn)
        assert abs(int(jnp.argmax(image[row, 40:])) + 40 + 0.5 - (40 + 50 * right / forward)) < 1.5
    black = render(FLAT, ego(), car(-1e4), driving.condition("camera_black"), key)
    assert np.all(np.asarray(black) == 0)


def test_radar_knows_closing_speed():
    detect = jax.jit(driving.detect)
    found = detect(ego(speed=10.0), car(40.0, speed=4.0), jax.random.key(1))
    np.testing.assert_allclose(found[0], [40.0, 0.0, -6.0, 1.0], atol=0.7)
    assert np.all(np.asarray(detect(ego(), car(-40.0), jax.random.key(1))) == 0)


@pytest.mark.slow
def test_conditions_are_arguments_of_one_program():
    traces = []

    @jax.jit
    def draw(key, condition):
        traces.append(condition)
        return driving.sample(key, condition, "independent")

    key = jax.random.key(5)
    clear, frozen = (draw(key, driving.condition(name)) for name in ("clear", "camera_frozen"))
    assert len(traces) == 1
    np.testing.assert_array_equal(clear.command, frozen.command)  # the same state, seen worse
    np.testing.assert_array_equal(*frozen.observation.camera)
    assert np.any(clear.observation.camera[0] != clear.observation.camera[1])
    again = draw(key, driving.condition("clear"))
    np.testing.assert_array_equal(again.observation.camera, clear.observation.camera)
    assert [leaf.dtype for leaf in jax.tree.leaves(clear)] == [jnp.float32] * len(jax.tree.leaves(clear))
    with pytest.raises(UsageError, match="no condition 'snow'"):
        driving.condition("snow")


@pytest.mark.slow
def test_training_never_shows_the_unseen_failures():
    conditions = jax.jit(jax.vmap(driving.training_condition))(jax.random.split(jax.random.key(0), 512))
    for name in ("white", "mud", "speckle", "sector", "ghosts"):
        assert not np.any(getattr(conditions, name))
    assert 0.05 < np.mean(conditions.black) < 0.14
    assert np.max(np.abs(conditions.miscalibration)) <= np.radians(3)
    assert np.max(conditions.skew) <= 0.3


@pytest.mark.slow
def test_samples_vmap_as_a_loop_and_layouts_leak_as_said():
    keys = jax.random.split(jax.random.key(0), 4000)
    one = lambda key: driving.sample(key, driving.condition("clear"), "independent")  # noqa: E731
    batch = jax.jit(jax.vmap(one))(keys[:3])
    loop = [jax.jit(one)(key) for key in keys[:3]]
    jax.tree.map(lambda b, *l: np.testing.assert_allclose(b, jnp.stack(l), atol=2e-4), batch, *loop)  # noqa: E741
    leaks = {}
    for layout in ("independent", "following"):
        drawn = jax.jit(jax.vmap(lambda key, layout=layout: driving.sample(key, driving.condition("clear"), layout)))
        leaks[layout] = driving.oracle(drawn(keys[:3000]), drawn(keys[3000:]))
    assert leaks["independent"]["steering"] < 0.05
    assert leaks["following"]["steering"] > 0.2
    assert leaks["independent"]["acceleration"] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("model", [driving.kinematic, driving.dynamic])
def test_gradients_through_pixels_policy_and_dynamics(model, x64):
    """The derivative of a drive by what made it (weights, start, extrinsics) against central differences."""
    scene = driving.sample_scene(jax.random.key(2), "following")
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(32 * 80 + 4 * 64, 2)) * 0.01)
    hidden = jax.random.key(1)

    def drive(point):
        weights, speed, yaw = point
        condition = driving.Condition(fog=0.01, miscalibration=yaw)

        def step(ego, _):
            image = driving.render(scene.road, ego, scene.now.cars, condition, hidden)
            ranges = driving.sweep(ego, scene.now.cars, condition, hidden, road=scene.road)
            output = jnp.concatenate([image.ravel(), ranges.ravel() / 70]) @ weights
            ego = model(ego, driving.Command(0.3 * jnp.tanh(output[0]), jnp.tanh(output[1])), 0.1)
            return ego, driving.locate(scene.road, ego.x, ego.y).offset ** 2 + 0.01 * ego.speed

        return jnp.sum(jax.lax.scan(step, scene.now.ego._replace(speed=speed), length=3)[1])

    point = (weights, jnp.array(9.0), jnp.array(0.01))
    direction = (jnp.asarray(rng.normal(size=weights.shape)), jnp.array(0.7), jnp.array(0.4))
    value = jax.jit(drive)
    move = lambda h: value(jax.tree.map(lambda p, d: p + h * d, point, direction))  # noqa: E731
    step = 1e-5
    wanted = (8 * (move(step) - move(-step)) - (move(2 * step) - move(-2 * step))) / (12 * step)
    gradient = jax.jit(jax.grad(drive))(point)
    got = sum(jnp.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    assert abs(float(got - wanted)) <= 1e-7 * abs(float(wanted))
