import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.transformer import Architecture, Experts
from chainlab.transformer.feed_forward import expert_feed_forward

SHAPE = Architecture(dim=8, heads=2, hidden=12, mlp="relu2")


def layer(**options):
    return expert_feed_forward(SHAPE, Experts(count=4, **options))


def tokens(count=24):
    return jax.random.normal(jax.random.key(1), (2, count // 2, 8))


def params_of(mixture):
    return jax.tree.map(lambda x: 20 * x, mixture.init(jax.random.key(0)))


@pytest.mark.slow
def test_the_output_is_the_weighted_sum_of_the_chosen_experts():
    mixture = layer(active=2)
    params = params_of(mixture)
    x = tokens()
    got, auxiliary = mixture.apply(params, x)
    flat = np.asarray(x).reshape(-1, 8)
    probabilities = np.asarray(jax.nn.softmax(flat @ np.asarray(params["router"]["weight"]), axis=-1))
    for row, p, y in zip(flat, probabilities, np.asarray(got).reshape(-1, 8), strict=True):
        best = np.argsort(-p)[:2]
        experts = [
            np.square(np.maximum(row @ params["up"]["weight"][e], 0)) @ params["down"]["weight"][e] for e in best
        ]
        np.testing.assert_allclose(y, (p[best] / p[best].sum()) @ np.stack(experts), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(auxiliary["load"]), 1.0, rtol=1e-6)
    assert auxiliary["dropped"] == 0


@pytest.mark.slow
def test_capacity_drops_the_latest_tokens_in_training_only():
    mixture = layer(active=1, capacity_factor=0.5)
    params = params_of(mixture)
    params["router"]["weight"] = jnp.zeros((8, 4))  # ties: every token to expert 0
    x = tokens()
    whole, _ = mixture.apply(params, x)
    trained, auxiliary = mixture.apply(params, x, training=True)
    kept = 3  # 0.5 * 24 tokens / 4 experts
    np.testing.assert_allclose(trained.reshape(-1, 8)[:kept], whole.reshape(-1, 8)[:kept], rtol=1e-6)
    assert np.all(trained.reshape(-1, 8)[kept:] == 0)
    np.testing.assert_allclose(auxiliary["dropped"], 21 / 24)


@pytest.mark.slow
def test_only_chosen_experts_receive_gradient():
    mixture = layer(active=1)
    params = params_of(mixture)
    x = tokens(2)
    gradient = jax.grad(lambda p: jnp.sum(jnp.sin(mixture.apply(p, x)[0])))(params)
    load = np.asarray(mixture.apply(params, x)[1]["load"])
    got = np.any(np.asarray(gradient["up"]["weight"]) != 0, axis=(1, 2))
    np.testing.assert_array_equal(got, load > 0)
    assert 0 < np.sum(got) < 4


@pytest.mark.slow
def test_the_router_of_one_active_expert_learns_from_the_loss():
    """Its own probability is the weight (Switch): a normalised one would be 1, whatever the router says."""
    mixture = layer(active=1)
    params = params_of(mixture)
    x = tokens(4)

    def total(params):
        y = mixture.apply(params, x)[0]
        return jnp.sum(y), y

    slope, y = jax.jit(jax.grad(total, has_aux=True))(params)
    assert np.any(slope["router"]["weight"] != 0)
    row = np.asarray(x).reshape(-1, 8)[0]
    p = np.asarray(jax.nn.softmax(row @ np.asarray(params["router"]["weight"])))
    best = np.argmax(p)
    expert = np.square(np.maximum(row @ params["up"]["weight"][best], 0)) @ params["down"]["weight"][best]
    np.testing.assert_allclose(y.reshape(-1, 8)[0], p[best] * expert, rtol=2e-4, atol=1e-5)


@pytest.mark.slow
def test_losses_are_least_for_an_even_router():
    mixture = layer(active=1)
    params = params_of(mixture)
    _, skewed = mixture.apply(params, tokens())
    params["router"]["weight"] = jnp.zeros((8, 4))
    _, flat = mixture.apply(params, tokens())
    np.testing.assert_allclose(flat["balance_loss"], 1.0, rtol=1e-6)  # the mean probability is even
    np.testing.assert_allclose(flat["z_loss"], np.log(4) ** 2, rtol=1e-5)
    assert skewed["balance_loss"] > 1.0
