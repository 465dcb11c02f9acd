"""Metrics against closed forms, scipy, and figures recorded from prdc and pytorch-ignite."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from chainlab import gan
from chainlab.data import DatasetConfig
from chainlab.errors import DataError, UsageError
from chainlab.gan.config import SourceConfig
from chainlab.gan.feature_metrics import squared_distances
from chainlab.gan.pictures import stack

pytestmark = pytest.mark.usefixtures("standard_promotion")
KEY = jax.random.key(0)


def test_mixture_metrics_of_real_draws_of_a_blob_and_of_narrow_modes():
    mixture = gan.grid(25)
    centers = jnp.asarray(mixture.centers, jnp.float32)
    real = jax.jit(lambda x: gan.mixture_metrics(x, mixture))
    found = real(mixture.sample(KEY, 10_000))
    assert found["modes"] == 25
    assert abs(found["high_quality"] - 0.98889) < 0.004
    assert abs(found["spread_ratio"] - 1) < 0.02
    assert abs(found["kl_excess"]) < 0.001
    assert 0.94 < found["narrowest_ratio"] < 1
    blob = real(jax.random.uniform(KEY, (10_000, 2), minval=-5, maxval=5))
    assert blob["modes"] == 0
    assert blob["high_quality"] < 0.03
    narrow = real(centers[jnp.arange(10_000) % 25] + 0.025 * jax.random.normal(KEY, (10_000, 2)))
    assert abs(narrow["spread"] - 0.5) < 0.01
    direction = jnp.array([0.6, 0.8])  # modes drawn as lines have nearly the spread of the data
    curves = real(centers[jnp.arange(10_000) % 25] + 0.07 * jax.random.normal(KEY, (10_000, 1)) * direction[None])
    assert curves["spread_ratio"] > 0.9
    assert curves["narrowest_ratio"] < 0.01
    half = real(centers[jnp.arange(10_000) % 5])
    assert half["modes"] == 5
    assert half["narrowest_ratio"] == 0
    far = real(jnp.full((10_000, 2), 1e4) + centers[jnp.arange(10_000) % 25])  # no mode at all, and no NaN
    assert far["narrowest_ratio"] == 0
    np.testing.assert_allclose(half["kl"], np.log(5), rtol=1e-5)


def test_kl_floor_is_that_of_perfect_draws(rng):
    draws = [gan.categorical_kl(jnp.asarray(rng.multinomial(5000, np.full(50, 0.02)), jnp.float32)) for _ in range(30)]
    np.testing.assert_allclose(np.mean(draws), gan.kl_floor(50, 5000), rtol=0.1)


@pytest.mark.parametrize(
    "mixture", [gan.ring(8), *(pytest.param(gan.grid(n), marks=pytest.mark.slow) for n in (25, 100))]
)
def test_finest_scale_finds_the_modes(mixture):
    scaled = mixture.scaled()
    found = gan.finest_scale(np.asarray(scaled.sample(KEY, 4096)))
    assert 0.8 < found / scaled.deviation < 1.25


def test_finest_scale_of_one_cloud_is_its_own(rng):
    assert 0.8 < gan.finest_scale(rng.normal(size=(2000, 2))) < 1.25


def features(seed=0, count=60, shift=0.3):
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(count, 8)) @ rng.normal(size=(8, 8))
    return jnp.asarray(real), jnp.asarray(real[::-1] * 0.9 + shift * rng.normal(size=(count, 8)) + 0.1)


def test_frechet_distance_against_scipy_and_its_closed_form(x64):
    real, fake = features()
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    want = np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    np.testing.assert_allclose(gan.frechet_distance(real, fake), want, rtol=1e-9)
    np.testing.assert_allclose(gan.frechet_distance(real, real + 2.0), 4 * 8, rtol=1e-9)


def test_frechet_distance_of_a_singular_covariance(x64, rng):
    real = jnp.asarray(np.repeat(rng.normal(size=(9, 1)), 4, axis=1))
    np.testing.assert_allclose(
        gan.frechet_distance(real, 2 * real - jnp.mean(real)), 4 * np.var(real[:, 0], ddof=1), rtol=1e-6
    )


def test_kernel_distance_by_its_sums(x64):
    real, fake = features(count=12)
    k = lambda a, b: (float(a @ b) / 8 + 1) ** 3  # noqa: E731
    within = lambda x: np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])  # noqa: E731
    x, y = np.asarray(real), np.asarray(fake)
    want = within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])
    np.testing.assert_allclose(gan.kernel_distance(real, fake), want, rtol=1e-9)


def test_neighbour_metrics_by_their_definition(x64):
    real, fake = (np.asarray(x) for x in features(shift=3.0))
    distance = lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=-1)  # noqa: E731
    reach_r, reach_f = (np.sort(distance(x, x), axis=1)[:, 5] for x in (real, fake))
    across = distance(real, fake)
    want = {
        "precision": (across < reach_r[:, None]).any(0).mean(),
        "recall": (across < reach_f[None]).any(1).mean(),
        "density": (across < reach_r[:, None]).sum(0).mean() / 5,
        "coverage": (across.min(1) < reach_r).mean(),
    }
    got = gan.neighbour_metrics(jnp.asarray(real), jnp.asarray(fake))
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, err_msg=name)
    assert any(0 < value < 1 for value in want.values())


def test_sliced_wasserstein_of_a_shift(x64, rng):
    real = jnp.asarray(rng.normal(size=(50, 3)))
    np.testing.assert_allclose(gan.sliced_wasserstein(real, real, KEY), 0, atol=1e-12)
    shifted = gan.sliced_wasserstein(real, real + jnp.array([[3.0, 0.0, 0.0]]), KEY, projections=4000)
    np.testing.assert_allclose(shifted, 3 / np.sqrt(3), rtol=0.03)


@pytest.mark.slow
def test_copies_are_found(rng):
    train, test = (jnp.asarray(rng.normal(size=(40, 6)), jnp.float32) for _ in range(2))
    memorisation = jax.jit(gan.memorisation)
    found = memorisation(train, test, jnp.concatenate([train[:10], test[:30]]))
    np.testing.assert_allclose(found["copies"], 0.25)
    assert memorisation(train, test, test)["nearest_ratio"] == 1
    assert memorisation(train, test, train)["nearest_ratio"] == 0


def test_distances_are_never_negative(rng):
    x = jnp.asarray(1e3 + rng.normal(size=(20, 3)), jnp.float32)
    assert squared_distances(x, x).min() >= 0


def test_class_variance_is_the_pooled_one(rng):
    x, y = jnp.asarray(rng.normal(size=(30, 4, 4, 1)), jnp.float32), jnp.asarray(np.arange(30) % 3, jnp.int32)
    want = np.sum([9 * np.var(x[np.asarray(y) == c], axis=0, ddof=1).sum() for c in range(3)]) / 27 / 16
    np.testing.assert_allclose(gan.class_variance(x, y, 3), want, rtol=1e-5)


@pytest.mark.slow
def test_classifier_is_repeatable_and_refuses_bad_labels(rng):
    x, y = rng.uniform(-1, 1, size=(40, 8, 8, 1)).astype(np.float32), (np.arange(40) % 2).astype(np.int32)
    x[y == 1] += 1
    first, again = (gan.train_classifier(x, y, 2, width=2, features=8, steps=200, batch_size=16) for _ in range(2))
    assert first.sha256 == again.sha256
    assert first.accuracy(jnp.asarray(x), y) > 0.9
    np.testing.assert_allclose(jnp.mean(jnp.square(first.features(jnp.asarray(x))), axis=-1), 1, rtol=1e-3)


def test_bad_labels_are_refused():
    x, y = np.zeros((4, 8, 8, 1), np.float32), np.arange(4, dtype=np.int32) % 2
    with pytest.raises(DataError, match=r"label in 0\.\.1, got 2"):
        gan.train_classifier(x, np.where(y == 1, 2, 0), 2)
    with pytest.raises(DataError, match="class 2 has no example"):
        gan.train_classifier(x, y, 3)


@pytest.mark.slow
def test_images_from_digits_and_bad_ones():
    source = SourceConfig(kind="images", conditional=True, images=DatasetConfig(name="digits", scale="none"))
    problem = gan.problem(source, 32)
    assert problem.shape == (8, 8, 1)
    batch = problem.data.batch(KEY, 0)
    assert batch["x"].min() == -1
    assert batch["x"].max() == 1
    assert 0.3 < problem.deviation < 1.5
    stacked = gan.problem(replace(source, kind="stacked", conditional=False), 5)
    assert stacked.data.batch(KEY, 3)["x"].shape == (5, 8, 8, 3)
    with pytest.raises(DataError, match="pixels >= 0"):
        gan.problem(replace(source, images=DatasetConfig(name="digits", scale="standard")), 32)
    with pytest.raises(DataError, match="4 divides"):
        gan.problem(replace(source, images=DatasetConfig(name="iris", scale="none")), 32)
    with pytest.raises(DataError, match="no test set"):
        gan.problem(replace(source, images=DatasetConfig(name="digits", scale="none", test=0.0)), 32)
    with pytest.raises(UsageError, match="no labels"):
        gan.problem(replace(source, kind="stacked"), 5)


def test_stacked_images_keep_their_channels(rng):
    x = jnp.asarray(rng.normal(size=(5, 4, 4, 1)), jnp.float32)
    index = jnp.array([[0, 1, 2], [4, 4, 3]])
    y = stack(x, index)
    assert np.array_equal(y[1, :, :, 2], x[3, :, :, 0])
    assert np.array_equal(y[0, :, :, 1], x[1, :, :, 0])


def test_panels_draw():
    figure = gan.picture_grid(np.zeros((2, 3, 4, 4, 1)))
    assert len(figure.axes) == 1
    assert len(gan.phase_portrait(gan.dirac_gan(), points=3, steps=5).axes) == 1
    with pytest.raises(UsageError):
        gan.picture_grid(np.zeros((2, 3, 4, 4, 2)))
