"""Clipping, noise and epsilon."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab import federated
from chainlab.errors import UsageError

pytestmark = pytest.mark.usefixtures("standard_promotion")
COUNT, DIM = 10, 40_000
CLIENTS = federated.lay_out({"x": np.zeros((COUNT, 1), np.float32)}, federated.even(COUNT, COUNT), 1)


def private_round(length, noise_multiplier, *, rounds=1, last=None):
    """Parameters after rounds in which half of the clients answer with a vector of that length, and last metrics."""

    def update(params, shared, memory, batches, key):
        delta = jnp.full(DIM, length / np.sqrt(DIM), jnp.float32)
        return federated.Update({"delta": delta}, batches.examples, (), {"loss": jnp.zeros(())})

    algorithm, server = federated.Algorithm(update), optax.sgd(1.0)
    privacy = federated.Privacy(clip=2.0, noise_multiplier=noise_multiplier, rate=0.5)
    step = jax.jit(federated.federate(algorithm, server, privacy=privacy, last=last))
    state = federated.start(algorithm, server, jnp.zeros(DIM, jnp.float32), COUNT)
    group = federated.Cohort(CLIENTS, jnp.arange(COUNT, dtype=jnp.int32), jnp.arange(COUNT) < 6)
    found, metrics = [], {}
    for index in range(rounds):
        state, metrics = step(state, group, jax.random.key(index))
        found.append(np.asarray(state.params))
    return found, metrics


def test_noise_of_the_mean_is_within_2_percent_of_its_sigma():
    (first, second, third), _ = private_round(0.0, 1.5, rounds=3, last=2)
    sigma = 1.5 * 2.0 / (0.5 * COUNT)
    assert np.std(first) == pytest.approx(sigma, rel=0.02)
    assert abs(np.mean(first)) < 5 * sigma / np.sqrt(DIM)
    assert np.std(second - first) == pytest.approx(sigma, rel=0.02)  # fresh noise every round
    assert abs(np.corrcoef(first, second - first)[0, 1]) < 0.03
    np.testing.assert_array_equal(second, third)  # the budget is spent


@pytest.mark.parametrize(("length", "kept"), [(7.0, 2.0), (0.5, 0.5)])
def test_updates_are_clipped_and_divided_by_the_expected_number(length, kept):
    (params,), metrics = private_round(length, 1e-9)
    np.testing.assert_allclose(np.linalg.norm(params), 6 * kept / (0.5 * COUNT), rtol=1e-4)
    np.testing.assert_allclose(metrics["drift_cosine"], 1, rtol=1e-4)  # of what was clipped, too


def test_clip_is_finite_at_zero():
    assert not np.any(federated.clip({"a": jnp.zeros(3)}, 1.0)["a"])


def test_epsilon_is_that_of_dp_accounting():
    accounting = pytest.importorskip("dp_accounting")
    privacy = federated.Privacy(clip=1.0, noise_multiplier=1.1, rate=0.05)
    curve = federated.epsilons(privacy, 60, delta=1e-5)
    event = accounting.PoissonSampledDpEvent(0.05, accounting.GaussianDpEvent(1.1))
    for rounds in (1, 60):
        accountant = accounting.rdp.RdpAccountant().compose(event, rounds)
        assert curve[rounds - 1] == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-12)
    assert np.all(np.diff(curve) > 0)
    noisier = federated.Privacy(clip=1.0, noise_multiplier=2.0, rate=0.05)
    assert federated.epsilons(noisier, 60, delta=1e-5)[-1] < curve[-1]


def test_bad_arguments():
    for values in ((0.0, 1.0, 0.5), (1.0, 0.0, 0.5), (1.0, 1.0, 0.0), (1.0, 1.0, 1.5)):
        with pytest.raises(UsageError, match="wanted clip > 0"):
            federated.Privacy(*values)
    with pytest.raises(UsageError, match="wanted rounds >= 1"):
        federated.epsilons(federated.Privacy(1.0, 1.0, 0.5), 0, delta=1e-5)


def test_an_algorithm_that_sends_more_than_its_delta_is_refused():
    def objective(params, batch, key):
        return jnp.sum(params) * jnp.mean(batch["x"]), {}

    algorithm, server = federated.scaffold(objective, rate=0.1), optax.sgd(1.0)
    step = federated.federate(algorithm, server, privacy=federated.Privacy(1.0, 1.0, 0.5))
    state = federated.start(algorithm, server, jnp.zeros(2), COUNT)
    group = federated.poisson(CLIENTS, 0.5, jax.random.key(0))
    with pytest.raises(UsageError, match="control, delta"):
        jax.eval_shape(step, state, group, jax.random.key(0))
