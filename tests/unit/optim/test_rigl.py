"""RigL: the number of connections never changes, what is dropped is least, what grows has the largest gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab.errors import UsageError
from chainlab.optim import rigl
from chainlab.optim.sparse_training import redistribute

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.slow
def test_the_least_weights_go_and_the_largest_gradients_come():
    mask = jnp.array([True, True, True, True, False, False, False, False])
    weight = jnp.array([0.1, -3.0, 2.0, -0.2, 0, 0, 0, 0])
    gradient = jnp.array([0.0, 9.0, 9.0, 0.0, 1.0, -5.0, 0.5, 4.0])
    kept, grown = redistribute(mask, weight, gradient, jnp.float32(0.5))
    assert kept.tolist() == [False, True, True, False, False, False, False, False]
    assert grown.tolist() == [False, False, False, False, False, True, False, True]


@pytest.mark.slow
def test_a_budget_of_connections_is_kept_while_it_learns(rng):
    x = jnp.asarray(rng.normal(size=(64, 16)), jnp.float32)
    truth = jnp.zeros((16, 4)).at[:3].set(1.0)  # few inputs matter
    y = x @ truth
    optimizer = rigl(optax.sgd(0.1, momentum=0.9), density=0.25, every=10, until=150, fraction=0.5)
    params = {"weight": jnp.asarray(rng.normal(size=(16, 4)), jnp.float32), "bias": jnp.ones(4)}

    def loss(p):
        return jnp.mean((x @ p["weight"] + p["bias"][None, :] - y) ** 2)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        active = jnp.sum(state.masks["weight"])
        outside = jnp.max(jnp.abs(jnp.where(state.masks["weight"], 0, params["weight"])))
        return (params, state), (loss(params), active, outside)

    start = (params, optimizer.init(params))
    (params, state), (losses, active, outside) = jax.jit(lambda: jax.lax.scan(step, start, None, length=300))()
    assert np.all(active == 16)
    assert np.all(outside == 0)
    assert state.masks["bias"] is None
    assert losses[-1] < 1e-3
    found = np.asarray(state.masks["weight"])
    assert np.all(found[:3])  # it moved its connections to the inputs that matter
    assert not np.all(np.asarray(start[1].masks["weight"])[:3])


def test_bad_settings_are_named():
    with pytest.raises(UsageError, match="density"):
        rigl(optax.sgd(0.1), density=0.0)
    with pytest.raises(UsageError, match="every"):
        rigl(optax.sgd(0.1), density=0.5, every=0)
    transform = rigl(optax.sgd(0.1), density=0.5)
    with pytest.raises(UsageError, match="needs the parameters"):
        transform.update(jnp.ones((2, 2)), transform.init(jnp.ones((2, 2))))
