"""Policies: every fusion obeys the laws of models, survives what is missing, and stacking leaves its parts alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import driving
from chainlab.driving.cloning import scaled
from chainlab.driving.encoders import camera_encoder, lidar_encoder
from chainlab.errors import UsageError

FUSIONS = ("concatenation", "gated", "attention", "lift_splat", "experts", "late", "stacked")


def observation(batch=3, seed=0, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    camera = jnp.asarray(rng.random((batch, 2, 32, 80)), dtype)
    lidar = jnp.asarray(np.minimum(70, 90 * rng.random((batch, 2, 4, 64))), dtype)
    ego = jnp.asarray(rng.normal(size=(batch, 3)), dtype)
    return driving.Observation(camera, lidar, ego, jnp.ones((batch, 2), dtype))


def build(fusion, **options):
    policy = driving.policy(fusion, dim=4, hidden=8, **options)
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    rng = np.random.default_rng(1)
    return policy, jax.tree.map(lambda s: jnp.asarray(0.3 * rng.normal(size=s.shape), s.dtype), shapes)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_shapes_and_types_for_any_leading_axes(fusion):
    policy, _ = build(fusion)
    params = jax.eval_shape(policy.init, jax.random.key(0))
    one = jax.eval_shape(lambda: observation(1))
    for batch in ((), (2, 3)):
        seen = jax.tree.map(lambda leaf, batch=batch: jax.ShapeDtypeStruct((*batch, *leaf.shape[1:]), leaf.dtype), one)
        fused = jax.eval_shape(policy.apply, params, seen)
        assert fused.command.mean.shape == (*batch, 2)
        assert fused.health.shape == (*batch, len(policy.parts))
        assert {leaf.dtype for leaf in jax.tree.leaves(fused)} == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS)
def test_laws(fusion):
    """jit is eager, vmap is a loop, gradients are finite, a missing sensor's content is never read."""
    policy, params = build(fusion)
    seen = observation()
    apply = jax.jit(lambda p, o: policy.apply(p, o).command)
    mean = apply(params, seen).mean
    np.testing.assert_allclose(policy.apply(params, seen).command.mean, mean, rtol=1e-4, atol=1e-5)
    loop = jnp.stack([apply(params, jax.tree.map(lambda x, i=i: x[i], seen)).mean for i in range(3)])
    np.testing.assert_allclose(
        jax.vmap(lambda o: policy.apply(params, o).command.mean)(seen), loop, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(mean, loop, rtol=1e-4, atol=1e-5)
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(policy.apply(p, seen).command.mean ** 2)))(params)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradients))
    other = observation(seed=9)
    for sensor, kept in (("camera", "lidar"), ("lidar", "camera")):
        one = driving.masked(seen, [kept])
        poisoned = one._replace(**{sensor: getattr(other, sensor)})
        np.testing.assert_array_equal(apply(params, one).mean, apply(params, poisoned).mean)
        assert np.any(apply(params, one).mean != mean)
    blind = driving.masked(seen, [])
    assert np.all(np.isfinite(apply(params, blind).mean))
    empty = seen._replace(lidar=jnp.full_like(seen.lidar, 70.0))
    assert np.all(np.isfinite(apply(params, empty).mean))
    missing = apply(params, driving.masked(seen, ["camera"])).mean
    # an empty sweep is a missing LiDAR, a black frame a missing camera
    np.testing.assert_allclose(apply(params, empty).mean, missing, rtol=1e-4, atol=1e-5)
    black = apply(params, seen._replace(camera=jnp.zeros_like(seen.camera))).mean
    np.testing.assert_allclose(black, apply(params, driving.masked(seen, ["lidar"])).mean, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_the_stack_learns_does_not_reach_its_parts():
    """Each part is trained exactly as a network that has nothing but its own sensor and reader."""
    policy, params = build("stacked")
    seen, wanted = observation(), jnp.asarray(np.random.default_rng(2).normal(size=(3, 2)), jnp.float32)
    of_stack = jax.grad(lambda p: jnp.sum((policy.apply(p, seen).command.mean - wanted) ** 2))(params)
    for name in policy.parts:
        own = (of_stack["encoders"][name], of_stack["fusion"][f"read_{name}"], of_stack["fusion"][f"head_{name}"])
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(own))
    of_part = jax.grad(lambda p: jnp.sum((policy.apply(p, seen).parts["camera_dense"].mean - wanted) ** 2))(params)
    touched = {name for name, tree in of_part["fusion"].items() if any(np.any(leaf) for leaf in jax.tree.leaves(tree))}
    assert touched == {"read_camera_dense", "head_camera_dense"}
    assert any(np.any(leaf) for leaf in jax.tree.leaves(of_stack["fusion"]["stack"]))


@pytest.mark.slow
def test_the_stack_starts_as_a_product_of_experts():
    """Its own answer is zero with variance 1 until it has learnt anything."""
    policy = driving.policy("stacked", dim=4, hidden=8)
    params = policy.init(jax.random.key(0))
    fused = jax.jit(policy.apply)(params, observation())
    precision = {name: np.exp(-part.log_variance) for name, part in fused.parts.items()}
    total = 1 + sum(precision.values())
    wanted = sum(precision[name] * part.mean for name, part in fused.parts.items()) / total
    np.testing.assert_allclose(fused.command.mean, wanted, rtol=1e-5, atol=1e-6)
    assert np.ptp(list(precision.values())) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["range", "histogram", "pillars"])
def test_lidar_encoders_see_a_car_where_it_is(kind):
    encoder = lidar_encoder(kind, 4)
    params = encoder.model.init(jax.random.key(0))
    clear, key = driving.condition("clear"), jax.random.key(1)
    ego = driving.Vehicle(*[jnp.zeros(())] * 8)
    sweep = jax.jit(driving.sweep)

    def tokens(x, y):
        car = driving.Cars(*(jnp.array([value]) for value in (x, y, 0.0, 0.0, 0.2)))
        ranges = jnp.broadcast_to(sweep(ego, car, clear, key), (1, 2, 4, 64))
        return encoder.model.apply(params, ranges)

    none, near, far = tokens(-1e4, 0.0), tokens(12.0, 0.0), tokens(12.0, 6.0)
    changed = [set(np.flatnonzero(np.any(np.abs(t - none)[0] > 1e-4, axis=-1))) for t in (near, far)]
    assert changed[0]
    assert changed[1]
    assert changed[0] != changed[1]


@pytest.mark.slow
def test_camera_encoders_give_the_same_number_of_tokens():
    for kind in ("patch", "convolution"):
        encoder = camera_encoder(kind, 4)
        params = encoder.model.init(jax.random.key(0))
        assert encoder.model.apply(params, observation(2).camera).shape == (2, encoder.count, 4)


FAR = driving.Lidar(elevation=(-8.0, -4.0, -2.0, -1.0, -0.5, -0.25), beams=32, reach=120.0)


def far_sweeps(batch, ranges):
    return observation(batch)._replace(lidar=jnp.full((batch, 2, len(FAR.elevation), FAR.beams), ranges))


def test_a_lidar_delivers_what_is_within_its_own_reach():
    np.testing.assert_array_equal(driving.delivering(far_sweeps(2, 95.0), FAR), [[1, 1]] * 2)
    np.testing.assert_array_equal(driving.delivering(far_sweeps(2, 120.0), FAR), [[1, 0]] * 2)
    one = far_sweeps(1, 120.0)
    one = one._replace(lidar=one.lidar.at[0, 1, 3, 7].set(119.0))  # a single return
    np.testing.assert_array_equal(driving.delivering(one, FAR), [[1, 1]])


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "ranges"), [("concatenation", 95.0), ("stacked", 95.0), ("lift_splat", 40.0)])
def test_a_policy_of_another_rig_masks_its_empty_sweeps(fusion, ranges):
    """The bird's-eye grid of lift_splat ends at 64 m; the others see as far as the LiDAR."""
    policy, params = build(fusion, rig=driving.Rig(lidar=FAR))
    apply = jax.jit(lambda seen: policy.apply(params, seen).command.mean)
    seen, empty = apply(far_sweeps(2, ranges)), apply(far_sweeps(2, 120.0))
    np.testing.assert_array_equal(empty, apply(driving.masked(far_sweeps(2, ranges), ["camera"])))
    assert np.all(np.any(seen != empty, axis=-1))


def test_product_of_experts_weighs_by_precision():
    sure = driving.DiagonalGaussian(jnp.array([[1.0]]), jnp.log(jnp.array([[0.1]])))
    vague = driving.DiagonalGaussian(jnp.array([[3.0]]), jnp.log(jnp.array([[0.9]])))
    both = driving.product([sure, vague], jnp.ones((1, 2)))
    assert float(both.mean[0, 0]) == pytest.approx((1 / 0.1 + 3 / 0.9) / (1 / 0.1 + 1 / 0.9), rel=1e-4)
    alone = driving.product([sure, vague], jnp.array([[0.0, 1.0]]))
    assert float(alone.mean[0, 0]) == pytest.approx(3.0, rel=1e-4)


def test_cloning_scores_match_scikit_learn(rng):
    from sklearn.metrics import r2_score

    wanted = rng.normal(size=(50, 2)).astype(np.float32)
    said = wanted + 0.3 * rng.normal(size=(50, 2)).astype(np.float32)
    found = driving.determination(jnp.asarray(said), jnp.asarray(wanted))
    np.testing.assert_allclose(found, r2_score(wanted, said, multioutput="raw_values"), rtol=1e-4)
    np.testing.assert_allclose(scaled(jnp.array([[0.07, 2.0]])), [[1.0, 1.0]], rtol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="sensors must be different ones of camera, lidar"):
        driving.policy(sensors=("camera", "camera"))
    with pytest.raises(UsageError, match="multiple of 4"):
        driving.policy(dim=6)
    with pytest.raises(UsageError, match="no fusion 'average'"):
        driving.policy("average")
    with pytest.raises(UsageError, match="lift_splat fuses camera and lidar"):
        driving.policy("lift_splat", ["camera"])
    with pytest.raises(UsageError, match="whole sectors of four beams, got 62 beams"):
        driving.policy(rig=driving.Rig(lidar=driving.Lidar(beams=62)))
    with pytest.raises(UsageError, match="patches of 4x4 pixels, got 30x80 pixels"):
        driving.policy(rig=driving.Rig(camera=driving.PinholeCamera(rows=30)))
    with pytest.raises(UsageError, match=r"lidar: the policy is for .* \(2, 4, 64\), got \(2, 6, 32\)"):
        driving.policy(dim=4, hidden=8).apply({}, far_sweeps(1, 50.0))
