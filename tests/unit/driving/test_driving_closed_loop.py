"""Closed loop, its scores, DAgger's fleet, the analytic policy gradient, the experiments and what they draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import driving
from chainlab.driving.policy_gradient import cost, safe_gap
from chainlab.driving.vehicle import Command
from chainlab.errors import UsageError
from chainlab.lab import loop
from chainlab.lab.config import load

CLEAR = driving.Condition(*(jnp.zeros(()) for _ in driving.Condition._fields))


def blind(params, observation, scene):
    del observation, scene
    return Command(params, jnp.ones_like(params))


def shortest(**changes):
    """A drive of three ticks with the numbers given."""
    end = driving.start(driving.sample_route(jax.random.key(0)))
    numbers = dict.fromkeys(driving.Drive._fields[1:], jnp.zeros(3)) | {"alive": jnp.array([1.0, 1.0, 0.0])}
    return driving.Drive(end._replace(progress=jnp.array(30.0)), **(numbers | changes))


@pytest.mark.slow
def test_scores_are_carlas():
    sound = driving.score(shortest(offset=jnp.array([0.2, -0.4, 9.0])), jnp.array(60.0))
    assert float(sound.driving_score) == pytest.approx(0.5)
    assert float(sound.lateral) == pytest.approx(0.3)  # what comes after the end does not count
    hit = shortest()
    hit = hit._replace(end=hit.end._replace(collided=jnp.array(True)))
    assert float(driving.score(hit, jnp.array(20.0)).driving_score) == pytest.approx(0.6)


@pytest.mark.slow
def test_the_interval_covers_its_mean(rng):
    values = jnp.asarray(rng.normal(size=400), jnp.float32)
    low, high = jax.jit(driving.interval)(values, jax.random.key(1))
    mean, error = float(jnp.mean(values)), float(jnp.std(values)) / 20
    assert low == pytest.approx(mean - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.3 * error)


@pytest.mark.slow
def test_the_expert_arrives_and_a_blind_driver_does_not():
    judged = jax.jit(lambda driver_params: driving.judge(blind, driver_params, CLEAR, jax.random.key(0), count=8))
    scores = judged(jnp.array(0.1))
    assert np.all(np.asarray(scores.lost_lane) | np.asarray(scores.collision))
    assert np.all(np.asarray(scores.completion) < 0.6)
    again = judged(jnp.array(0.1))
    jax.tree.map(np.testing.assert_array_equal, scores, again)
    expert = jax.jit(lambda: driving.judge(driving.expert_driver, None, CLEAR, jax.random.key(0), count=64))()
    assert np.mean(expert.driving_score) > 0.98
    assert np.mean(expert.lateral) < 0.1


@pytest.mark.slow
def test_a_frozen_camera_shows_the_first_moment_and_a_skewed_lidar_an_earlier_one():
    route = driving.sample_route(jax.random.key(3))
    trip, seen = driving.start(route), []
    go = jax.jit(driving.move)
    for _ in range(3):
        seen.append(trip)
        trip = go(route, trip, Command(jnp.array(0.0), jnp.array(-2.0)))
    look = jax.jit(driving.look)
    key = jax.random.key(1)
    frozen, _ = look(route, trip, driving.condition("camera_frozen"), key)
    start, _ = look(route, seen[0], driving.condition("camera_frozen"), key)
    np.testing.assert_array_equal(frozen.camera, start.camera)
    late, _ = look(route, trip, driving.condition("skewed"), key)
    then, _ = look(route, seen[-1], driving.condition("clear"), key)
    np.testing.assert_allclose(late.lidar[1], then.lidar[1], atol=1e-3)
    np.testing.assert_array_equal(late.camera, look(route, trip, driving.condition("clear"), key)[0].camera)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clear", "camera_frozen", "skewed"])
def test_what_is_remembered_is_what_would_be_rendered_anew(name):
    """The same observations but for the sensors' noise, at the start and three ticks on."""
    route, condition = driving.sample_route(jax.random.key(3)), driving.condition(name)
    trip, keys = driving.start(route), jax.random.split(jax.random.key(1), 5)
    see, look, go = jax.jit(driving.see), jax.jit(driving.look), jax.jit(driving.move)
    sight, frames = driving.remember(route, trip, condition, keys[4]), []
    for key in keys[:4]:
        sight, seen = see(route, trip, sight, condition, key)
        anew, _ = look(route, trip, condition, jax.random.fold_in(key, 1))
        np.testing.assert_allclose(seen.camera, anew.camera, atol=0.08)
        np.testing.assert_allclose(seen.lidar, anew.lidar, atol=0.25)
        np.testing.assert_array_equal(seen.ego, anew.ego)
        frames.append(seen.camera)
        trip = go(route, trip, Command(jnp.array(0.05), jnp.array(1.0)))
    np.testing.assert_allclose(frames[3][0], frames[1][1], atol=1e-6)  # what was new is the earlier moment now
    moved = float(jnp.max(jnp.abs(frames[3][1] - frames[0][1])))
    assert moved == 0 if name == "camera_frozen" else moved > 0.2


@pytest.mark.slow
def test_a_fleet_drives_on_and_ended_drives_start_anew():
    drives = jax.jit(driving.fleet, static_argnums=1)(jax.random.key(0), 4)
    labels = jnp.asarray([[0.0, 0.0]] * 4)
    wild = jnp.asarray([[8.0, 0.0]] * 4)  # the learner steers as far as it can
    advance = jax.jit(driving.advance_fleet)
    taught, learnt = drives, drives
    for i in range(15):
        taught = advance(taught, wild, labels, jnp.array(1.0), jax.random.key(i))
        learnt = advance(learnt, wild, labels, jnp.array(0.0), jax.random.key(i))
    assert np.all(np.asarray(taught.trip.alive) == 1)
    assert np.max(taught.trip.time) == pytest.approx(3.0, abs=1e-3)
    assert np.all(np.asarray(learnt.trip.time) < 3.0)


@pytest.mark.slow
def test_policy_gradient_is_the_gradient_of_the_drive_and_truncation_cuts_it(x64):
    net = driving.privileged_network(8)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), net.init(jax.random.key(0)))
    batch = driving.fleet(jax.random.key(1), 2), jax.random.split(jax.random.key(2), 2)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
    found = {}
    for cut in (None, 1):
        objective = driving.analytic_policy_gradient(driving.privileged_driver(net), ticks=4, truncation=cut)
        value = jax.jit(lambda p, o=objective: o(p, batch, jax.random.key(2))[0])
        gradient = jax.jit(jax.grad(value))(params)
        got = sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
        ends = [value(jax.tree.map(lambda p, d, h=h: p + h * d, params, direction)) for h in (1e-6, -1e-6)]
        found[cut] = float(got), float((ends[0] - ends[1]) / 2e-6)
    assert found[None][0] == pytest.approx(found[None][1], rel=1e-6)
    assert abs(found[1][0] - found[1][1]) > 1e-3 * abs(found[1][1])
    with pytest.raises(UsageError, match="truncation must divide the 4 ticks"):
        driving.analytic_policy_gradient(driving.privileged_driver(net), ticks=4, truncation=3)(
            params, batch, jax.random.key(2)
        )


@pytest.mark.slow
def test_closeness_costs_what_the_gap_is_short_of_safe():
    """At 10 m/s behind 6 m/s a driver 0.6 s late needs 2 + 6 + (100 - 36) / 10 m; beside that the cost is the same."""
    route = driving.sample_route(jax.random.key(0))
    road = route.road._replace(amplitude=jnp.zeros(3), banks=None)
    zero = jnp.zeros(())
    ego = driving.Vehicle(zero, zero, zero, jnp.array(10.0), zero, zero, zero, zero)
    assert float(safe_gap(ego.speed, jnp.array(6.0))) == pytest.approx(14.4)
    assert float(safe_gap(ego.speed, jnp.array(20.0))) == 0

    @jax.jit
    def costs(gap):
        x = jnp.array([0.0, -1e4, -1e4, -1e4]).at[0].set(gap + 4.5 / 2 + 3.6)
        traffic = route.traffic._replace(x=x, offset=jnp.zeros(4), speed=jnp.full(4, 6.0))
        there = route._replace(road=road, ego=ego, traffic=traffic)
        return [cost(there, driving.start(there), Command(zero, zero), weight) for weight in (0.0, 2.0)]

    for gap in (3.0, 14.4, 60.0):
        without, weighed = map(float, costs(jnp.array(gap)))
        assert weighed - without == pytest.approx(2 * np.log1p(np.exp((14.4 - gap) / 2)), rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_stretches_of_policy_gradient_go_on_where_the_last_stopped():
    net = driving.privileged_network(8)
    params, keys = net.init(jax.random.key(0)), jax.random.split(jax.random.key(2), 6)
    drives = driving.stagger(driving.fleet(jax.random.key(1), 6), jax.random.key(3))
    begun = np.asarray(drives.trip.time)
    assert np.all(begun < 20)
    assert np.ptp(begun) > 5
    objective = jax.jit(driving.analytic_policy_gradient(driving.privileged_driver(net), ticks=5))
    _, (after, metrics) = objective(params, (drives, keys), keys[0])
    np.testing.assert_allclose(after.trip.time, begun + 1, rtol=1e-5)
    moved = np.asarray(after.trip.ego.x - drives.trip.ego.x)
    assert np.all(moved > 4)
    assert 0 < metrics["lateral"] < 1.75
    ended = after._replace(trip=after.trip._replace(alive=jnp.array([0.0, 1, 1, 1, 1, 1]), time=jnp.full(6, 19.0)))
    ended = ended._replace(trip=ended.trip._replace(time=ended.trip.time.at[1].set(20.0)))
    np.testing.assert_array_equal(jax.jit(driving.renew)(ended, keys[0]).trip.time, [0, 0, 19, 19, 19, 19])


def test_projection_puts_points_where_the_camera_draws_them():
    camera = driving.PinholeCamera()
    points = jnp.array([[11.5, 0.0, 0.0], [11.5, 1.0, 1.4], [-5.0, 0.0, 0.0]])
    seen = driving.project(points, camera.camera_from_vehicle, camera.intrinsics)
    np.testing.assert_array_equal(seen.visible(camera.rows, camera.columns), [True, True, False])
    np.testing.assert_allclose(seen.pixels[:2], [[39.5, 10 + 7 - 0.5], [34.5, 9.5]], rtol=1e-6)
    np.testing.assert_allclose(seen.depth, [10, 10, -6.5], rtol=1e-6)


TINY = ["run.steps=2", "policy.dim=4", "policy.hidden=8", "batch_size=8", "states=16", "conditions=[clear]"]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_experiment_trains_by_dagger_judges_and_draws(tmp_path):
    task = load("driving/closed_loop", [*TINY, "policy.fusion=concatenation", "routes=4", "seconds=1"]).task()
    built = loop.build(task, (0,), capacity=2)
    replica, metrics = built.steps(built.start(), 0, 2, task.data.arrays)
    assert np.all(np.isfinite(metrics["loss"]))
    assert np.all(np.asarray(replica.state["fleet"].trip.time) > 0)
    found = built.evaluate(replica, task.data.splits["clear"])
    assert {
        "fusion_ratio",
        "camera_ratio",
        "lidar_ratio",
        "ego_ratio",
        "expert_score_low",
        "persistence_steering",
    } <= set(found)
    assert found["margin_steering"] == pytest.approx(float(found["fusion_steering"] - found["best_steering"]), abs=1e-5)
    line = '{"split": "clear", "metrics": {%s}}'
    values = ", ".join(f'"{name}": [{float(value)}, 1.0]' for name, value in found.items())
    (tmp_path / "metrics.jsonl").write_text(line % values)
    panels = task.panels(replica.state, tmp_path)
    assert [panel.title for panel in panels] == ["Failures", "Sensors", "Driven path"]
    assert panels[0].rows[0]["half_width"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", ["analytic_policy_gradient", "sensor_policy_gradient"])
def test_policy_gradient_experiments_take_a_step(name):
    task = load(f"driving/{name}", ["worlds=2", "ticks=2", "hidden=8", "routes=2", "conditions=[clear]"]).task()
    built = loop.build(task, (0,), capacity=1)
    replica, metrics = built.steps(built.start(), 0, 1, task.data.arrays)
    assert metrics["policy_gradient_gradient_norm"][0] > 0
    found = built.evaluate(replica, task.data.splits["clear"])
    assert np.isfinite(found["lateral_ratio"])
    assert sorted(task.subjects(replica.state)) == ["cloning", "policy_gradient"]
