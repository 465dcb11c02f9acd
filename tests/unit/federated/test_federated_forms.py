"""The products form of local SGD equals SGD on the weights; forms are chosen by counted work."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab import federated
from chainlab.errors import UsageError
from chainlab.federated.gram import window_lengths

pytestmark = pytest.mark.usefixtures("standard_promotion")
INPUTS, HIDDEN, SIZES = 40, 16, (3, 9, 1, 14, 47)


def head(params, batch, key):
    hidden = jnp.tanh(batch["x"] + params["in"]["b"][None])
    losses = optax.softmax_cross_entropy_with_integer_labels(hidden @ params["out"], batch["y"])
    return federated.masked_mean(losses, batch["mask"]), {}


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    n = sum(SIZES)
    arrays = {"x": rng.normal(size=(n, INPUTS)), "y": rng.integers(0, 2, n).astype(np.int32)}
    clients = federated.lay_out(arrays, np.split(np.arange(n), np.cumsum(SIZES)[:-1]), 2)
    weight, out = rng.normal(size=(INPUTS, HIDDEN)) / 6, rng.normal(size=(HIDDEN, 2))
    params = {"in": {"w": jnp.asarray(weight), "b": jnp.zeros(HIDDEN)}, "out": jnp.asarray(out)}
    return federated.InputProduct(head, ("in", "w")), params, clients


@pytest.mark.slow
def test_products_equal_sgd_on_the_weights(problem, x64):
    objective, params, clients = problem
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
    chosen = window_lengths(objective, params, clients.of(jnp.asarray(0)), epochs=4)
    assert chosen[2] == 4
    assert chosen[24] == 0  # 48 examples of 40 features: SGD on the weights is less work
    everyone = federated.Cohort(clients, jnp.arange(5, dtype=jnp.int32), jnp.ones(5, bool))
    found = []
    for each in (objective, lambda *arguments: objective(*arguments)):
        algorithm, server = federated.fedavg(each, rate=0.2, epochs=4), optax.sgd(1.0)
        step = jax.jit(federated.federate(algorithm, server))
        state = federated.start(algorithm, server, params, len(SIZES))
        for _ in range(2):
            state, metrics = step(state, everyone, jax.random.key(0))
        found.append((state.params, metrics))
    assert np.max(np.abs(found[0][0]["in"]["w"] - params["in"]["w"])) > 0.05
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-10), *found)


def test_small_steps_are_grouped_and_large_ones_are_not(problem):
    objective, params, clients = problem
    assert federated.choose(objective, params, clients).__qualname__.startswith("grouped")
    wide = {"in": {"w": jnp.zeros((INPUTS, 30_000)), "b": jnp.zeros(30_000)}, "out": jnp.zeros((30_000, 2))}
    assert federated.choose(objective, wide, clients) is federated.ragged
    # the input product and its gradient, and three small products of the head
    assert federated.count_operations(objective, wide, clients) > 2 * (2 * 2 * INPUTS * 30_000)


def test_a_weight_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no in/w in the parameters"):
        federated.InputProduct(head, ("in", "w"))({"in": {}}, {"x": jnp.zeros((1, 2))}, jax.random.key(0))
