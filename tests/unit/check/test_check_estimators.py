"""Stochastic estimators: unbiased ones accepted, biased ones rejected with leaf and coordinate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab
from chainlab.autodiff import Sampling, evolution, forward, score_function, spsa, straight_through
from chainlab.errors import UsageError

CENTRES = jnp.array([0.3, -1.2, 0.8])
PARAMS = {"mu": jnp.array([0.5, -0.4, 1.1]), "log_sigma": jnp.array([-0.3, 0.1, -0.8])}


def expected(p):
    """E |z - c|^2 for z ~ N(mu, sigma^2)."""
    return jnp.sum((p["mu"] - CENTRES) ** 2 + jnp.exp(2 * p["log_sigma"]))


def draw(p, _, key):
    return p["mu"] + jnp.exp(p["log_sigma"]) * jax.random.normal(key, (3,))


def log_prob(p, _, z):
    u = (z - p["mu"]) / jnp.exp(p["log_sigma"])
    return jnp.sum(-0.5 * u**2 - p["log_sigma"])


def cost(_, __, z):
    return jnp.sum((z - CENTRES) ** 2)


GAUSSIAN = Sampling(draw, cost, log_prob=log_prob)


def reparameterised(key, p):
    return jax.grad(lambda p: cost(p, None, draw(p, None, key)))(p)


def by(rule, objective=GAUSSIAN):
    return lambda key, p: rule(objective)(p, None, key)[1]


def no_stop(key, p):
    """The score function whose cost is differentiated through the draw as well."""
    return jax.grad(lambda p: cost(p, None, draw(p, None, key)) * log_prob(p, None, draw(p, None, key)))(p)


def stopped_sigma(key, p):
    return reparameterised(key, p) | {"log_sigma": jnp.zeros(3)}


def five_percent(key, p):
    g = by(score_function(2))(key, p)
    return g | {"mu": g["mu"].at[1].multiply(1.05)}


def bernoulli_through(key, p):
    objective = Sampling(
        lambda p, _, key: jax.random.bernoulli(key, jax.nn.sigmoid(p)).astype(jnp.float32),
        lambda p, _, z: jnp.sum((z - jnp.array([0.2, 0.6])) ** 3),
        relax=lambda p, _, key: jax.nn.sigmoid(p),
    )
    return straight_through(objective)(p, None, key)[1]


UNBIASED = {
    "reparameterisation": reparameterised,
    "score function": by(score_function(1, baseline=False)),
    "score function with baseline": by(score_function(4)),
    "spsa": by(spsa(1), lambda p, batch, key: (expected(p), {})),
}
SLOW = {
    "forward gradient": by(forward(1), lambda p, batch, key: (expected(p), {})),
    "evolution": by(evolution(8), lambda p, batch, key: (expected(p), {})),
}


def accepted(estimator):
    report = chainlab.check(expected, PARAMS, estimator=estimator)
    assert report.ok, report
    assert report.estimation is not None
    assert all(row["detectable"] < 0.3 for row in report.estimation.leaves.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reparameterisation", "spsa"])
def test_an_unbiased_estimator_is_accepted(name):
    accepted(UNBIASED[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*UNBIASED, *SLOW])
def test_every_unbiased_estimator_is_accepted(name):
    accepted({**UNBIASED, **SLOW}[name])


@pytest.mark.slow
def test_five_percent_on_one_coordinate_is_found_there():
    report = chainlab.check(expected, PARAMS, estimator=five_percent)
    assert [(f.kind, f.leaf, f.index) for f in report.findings] == [("biased", "p['mu']", (1,))], report


@pytest.mark.slow
def test_a_stopped_parameter_is_named():
    report = chainlab.check(expected, PARAMS, estimator=stopped_sigma)
    assert {f.leaf for f in report.findings} == {"p['log_sigma']"}
    assert "stopped" in report.findings[0].hint


@pytest.mark.slow
def test_differentiating_through_the_draw_is_biased():
    report = chainlab.check(expected, PARAMS, estimator=no_stop)
    assert {f.leaf for f in report.findings} == {"p['mu']", "p['log_sigma']"}


def test_straight_through_is_biased_for_a_nonlinear_cost():
    centres = np.array([0.2, 0.6])
    one, zero = (jnp.asarray((z - centres) ** 3, jnp.float32) for z in (1, 0))

    def exact(p):
        q = jax.nn.sigmoid(p)
        return jnp.sum(q * one + (1 - q) * zero)

    report = chainlab.check(exact, jnp.array([0.4, -0.7]), estimator=bernoulli_through)
    assert {f.index for f in report.findings} == {(0,), (1,)}, report


def test_an_estimator_of_other_leaves_is_refused():
    with pytest.raises(UsageError, match="argnums"):
        chainlab.check(expected, PARAMS, estimator=lambda key, p: p["mu"])
