import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal

from chainlab import driving
from chainlab.driving import Gaussian, kalman_filter, kalman_smoother

STEPS = 6


def linear_model():
    """A damped oscillator seen through two noisy channels."""
    rng = np.random.default_rng(0)
    return {
        "F": np.array([[0.9, 0.3], [-0.3, 0.8]]),
        "H": np.array([[1.0, 0.0], [0.5, 2.0]]),
        "Q": np.array([[0.2, 0.05], [0.05, 0.1]]),
        "R": np.array([[0.5, 0.1], [0.1, 0.3]]),
        "m": np.array([1.0, -1.0]),
        "P": np.array([[2.0, 0.3], [0.3, 1.0]]),
    }, rng.normal(size=(STEPS, 2))


def run(model, observations, **extra):
    prior = Gaussian(model["m"], model["P"])
    transition, observe = (lambda x, _, name=name: model[name] @ x for name in ("F", "H"))
    filtered = kalman_filter(transition, observe, model["Q"], model["R"], prior, observations, **extra)
    return filtered, kalman_smoother(transition, filtered)


def dense(model, observations, mask):
    """The same posterior by conditioning one big Gaussian of all states: no recursion, no filter."""
    n = 2
    powers = [np.linalg.matrix_power(model["F"], k) for k in range(STEPS)]
    # states = A @ (first state, noises); A is block lower triangular
    A = np.block([[powers[i - j] if i >= j else np.zeros((n, n)) for j in range(STEPS)] for i in range(STEPS)])
    prior = block_diag(model["P"], *[model["Q"]] * (STEPS - 1))
    mean, covariance = A @ np.concatenate([model["m"], np.zeros(n * (STEPS - 1))]), A @ prior @ A.T
    keep = mask.ravel()
    H, R = block_diag(*[model["H"]] * STEPS)[keep], block_diag(*[model["R"]] * STEPS)[np.ix_(keep, keep)]
    z, S = observations.ravel()[keep], H @ covariance @ H.T + R
    gain = covariance @ H.T @ np.linalg.inv(S)
    log_likelihood = multivariate_normal(H @ mean, S).logpdf(z)
    return (mean + gain @ (z - H @ mean)).reshape(STEPS, n), covariance - gain @ H @ covariance, log_likelihood


@pytest.mark.slow
@pytest.mark.parametrize("missing", [(), ((0, 1), (2, 0), (3, 0), (3, 1), (5, 1))], ids=["all seen", "some missing"])
def test_filter_and_smoother_against_conditioning_one_gaussian(x64, missing):
    model, observations = linear_model()
    mask = np.ones((STEPS, 2), bool)
    for place in missing:
        mask[place] = False
    filtered, smoothed = run(jax.tree.map(jnp.asarray, model), jnp.asarray(np.where(mask, observations, np.nan)))
    mean, covariance, log_likelihood = dense(model, observations, mask)
    np.testing.assert_allclose(smoothed.mean, mean, atol=1e-12)
    for t in range(STEPS):
        np.testing.assert_allclose(smoothed.covariance[t], covariance[2 * t : 2 * t + 2, 2 * t : 2 * t + 2], atol=1e-12)
        so_far = mask & (np.arange(STEPS) <= t)[:, None]
        if so_far.any():
            mean_t = dense(model, observations, so_far)[0]
            np.testing.assert_allclose(filtered.posterior.mean[t], mean_t[t], atol=1e-12)
    np.testing.assert_allclose(filtered.log_likelihood.sum(), log_likelihood, atol=1e-11)
    explicit, _ = run(jax.tree.map(jnp.asarray, model), jnp.asarray(observations), mask=jnp.asarray(mask))
    np.testing.assert_array_equal(explicit.posterior.mean, filtered.posterior.mean)


@pytest.mark.slow
def test_gradient_of_the_likelihood_against_differences_and_against_the_dense_form(x64):
    model, observations = linear_model()
    observations[1, 0] = np.nan
    mask = np.isfinite(observations)

    def value(model):
        return run(model, jnp.asarray(observations))[0].log_likelihood.sum()

    gradient = jax.jit(jax.grad(value))(jax.tree.map(jnp.asarray, model))
    for name, matrix in model.items():
        if name in "PQR":  # covariances stay symmetric
            continue
        for place in np.ndindex(matrix.shape):
            h = np.zeros(matrix.shape)
            h[place] = 1e-5
            up, down = (dense(model | {name: matrix + s * h}, observations, mask)[2] for s in (1, -1))
            np.testing.assert_allclose(gradient[name][place], (up - down) / 2e-5, rtol=1e-7, atol=1e-8)
    for name in "PQR":
        h = np.array([[1.0, 0.4], [0.4, 2.0]]) * 1e-5
        up, down = (dense(model | {name: model[name] + s * h}, observations, mask)[2] for s in (1, -1))
        np.testing.assert_allclose((gradient[name] * h).sum() / 1e-5, (up - down) / 2e-5, rtol=1e-7)


def test_nonlinear_filter_linearises_at_its_mean(x64):
    """One step of the extended filter by hand: range to a beacon."""
    beacon = jnp.array([3.0, 4.0])
    prior = Gaussian(jnp.zeros(2), jnp.eye(2))
    distance = lambda x, u: jnp.linalg.norm(x - u)[None]  # noqa: E731
    stay = lambda x, u: x  # noqa: E731
    got = kalman_filter(stay, distance, 0 * jnp.eye(2), jnp.eye(1), prior, jnp.array([[6.0]]), beacon[None])
    H = np.array([[-0.6, -0.8]])
    K = H.T / (1 + 1)
    np.testing.assert_allclose(got.posterior.mean[0], (K @ [6.0 - 5.0]).ravel(), atol=1e-12)
    np.testing.assert_allclose(got.posterior.covariance[0], np.eye(2) - K @ H, atol=1e-12)
    np.testing.assert_allclose(got.log_likelihood[0], multivariate_normal(5.0, 2.0).logpdf(6.0), atol=1e-12)


@pytest.mark.slow
def test_vmap_is_a_loop_and_float32_stays_positive():
    model, _ = linear_model()
    model = {name: jnp.asarray(value, jnp.float32) for name, value in model.items()}
    many = jax.random.normal(jax.random.key(1), (3, 500, 2))
    posterior = jax.vmap(lambda z: run(model, z)[0].posterior)(many)
    assert posterior.mean.dtype == jnp.float32
    np.testing.assert_allclose(posterior.mean[2], run(model, many[2])[0].posterior.mean, atol=1e-5)
    assert np.linalg.eigvalsh(np.asarray(posterior.covariance)).min() > 0


def simulated_drive(params, car, steps=400):
    """Sensors of a car that weaves and brakes, from the filter's own equations."""
    rng = np.random.default_rng(3)
    time = 0.05 * np.arange(steps)
    acceleration, steering = 1.5 * np.sin(0.7 * time), 0.3 * np.sin(1.1 * time)
    speed = 15 + np.concatenate([[0], np.cumsum(0.05 * acceleration)])[:-1]
    yaw = np.zeros(steps)
    for t in range(1, steps):
        gain = speed[t - 1] / (41.0 + 0.03 * speed[t - 1] ** 2)
        yaw[t] = yaw[t - 1] + (1 - np.exp(-0.05 / 0.12)) * (gain * steering[t - 1] - yaw[t - 1])
    noise = lambda scale: rng.normal(size=steps) * scale  # noqa: E731
    forward, left, up = acceleration + 0.4 + noise(0.3), speed * yaw + noise(0.3), np.full(steps, 9.81)
    force = np.stack([forward, left, up], -1)
    rates = np.stack([noise(0.01), noise(0.01), yaw + 0.01 + noise(0.003)], -1)
    sensors = driving.MotionSensors(force, rates, speed + noise(0.03), np.full(steps, np.nan))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), sensors), speed, acceleration, steering


@pytest.mark.slow
def test_ego_motion_is_recovered_without_the_steering_sensor():
    car = driving.EgoMotionFilter(interval=0.05, jitter=0.0)
    params = car.init(jax.random.key(0))
    sensors, speed, acceleration, steering = simulated_drive(params, car)
    filtered = jax.jit(car.filter)(params, sensors)
    now = car.estimates(params, filtered.posterior.mean)
    later = car.smooth(params, filtered)
    settled = slice(100, None)
    for estimate, truth, tolerance in ((now.speed, speed, 0.05), (now.acceleration, acceleration, 0.4)):
        assert np.sqrt(np.mean(np.square(estimate - truth)[settled])) < tolerance
    errors = [np.std((estimate.steering - steering)[settled]) for estimate in (now, later)]
    assert errors[1] < errors[0] < 0.5 * np.std(steering)
    ahead = car.forecast(params, filtered, 2)
    assert np.mean(np.square(ahead.speed[:-2] - speed[2:])[settled]) < 0.05
