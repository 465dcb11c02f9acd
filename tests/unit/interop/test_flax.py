import cProfile
import pstats

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from chainlab.errors import UsageError
from chainlab.interop import from_linen, from_nnx


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, deterministic=True):
        x = jax.nn.relu(linen.Dense(64)(x))
        return linen.Dense(2)(linen.Dropout(0.5)(x, deterministic=deterministic))


class LinenTrain(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool):
        return linen.Dropout(0.5, deterministic=not train)(x)


class LinenBatchNorm(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=True)(x)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(3, 64, rngs=rngs), nnx.Linear(64, 2, rngs=rngs)])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(jax.nn.relu(self.layers[0](x))))


class NnxBatchNorm(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(x)


@pytest.fixture(params=["linen", "nnx"])
def model(request):
    return from_linen(LinenNet(), jnp.ones((1, 3))) if request.param == "linen" else from_nnx(NnxNet)


def test_an_adapted_module_is_a_model(model, key):
    """Pure, deterministic without a key, jit == eager, vmap == loop, finite gradients."""
    params = jax.jit(model.init)(key)
    x = jax.random.normal(jax.random.key(1), (5, 3))
    y = model.apply(params, x)
    assert y.shape == (5, 2)
    np.testing.assert_array_equal(y, model.apply(params, x))
    np.testing.assert_allclose(jax.jit(model.apply)(params, x), y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(lambda row: model.apply(params, row[None])[0])(x), y, rtol=1e-5, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, x) ** 2)))(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert all(jnp.isfinite(leaf).all() and jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
    other = jax.jit(model.init)(jax.random.key(7))
    assert any(jnp.any(a != b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other), strict=True))


def test_a_key_switches_dropout_on_and_decides_it(model, key):
    params, x = jax.jit(model.init)(key), jnp.ones((4, 3))
    apply = jax.jit(model.apply)
    quiet, first, again, other = (
        apply(params, x, key=k) for k in (None, jax.random.key(1), jax.random.key(1), jax.random.key(2))
    )
    np.testing.assert_array_equal(first, again)
    assert jnp.any(first != quiet)
    assert jnp.any(first != other)
    means = jax.vmap(lambda k: apply(params, x, key=k))(jax.random.split(key, 2000)).mean(0)
    np.testing.assert_allclose(means, quiet, atol=0.15)  # dropout keeps the mean of what it feeds to a linear layer


def test_the_values_are_flaxs_own(key):
    x = jax.random.normal(key, (4, 3))
    module = LinenNet()
    params = module.init(key, x)["params"]
    np.testing.assert_array_equal(from_linen(module, x).apply(params, x), module.apply({"params": params}, x))
    net = NnxNet(nnx.Rngs(key))
    net.eval()
    model = from_nnx(NnxNet)
    np.testing.assert_array_equal(model.apply(model.init(key), x), net(x))


def test_a_train_argument_follows_the_key(key):
    model = from_linen(LinenTrain(), jnp.ones((2, 8)))
    np.testing.assert_array_equal(model.apply({}, jnp.ones((2, 8))), jnp.ones((2, 8)))
    assert set(np.unique(model.apply({}, jnp.ones((2, 8)), key=key))) == {0.0, 2.0}


def test_a_module_with_other_state_is_refused():
    with pytest.raises(UsageError, match="LinenBatchNorm keeps batch_stats besides its parameters"):
        from_linen(LinenBatchNorm(), jnp.ones((2, 3)))
    with pytest.raises(UsageError, match="NnxBatchNorm keeps BatchStat besides its parameters"):
        from_nnx(NnxBatchNorm)


def test_a_step_makes_few_python_calls(model, key):
    """In steady state the module is not walked: calls a step do not grow with it."""
    optimizer = optax.adam(1e-3)

    @jax.jit
    def step(params, state, x):
        gradient = jax.grad(lambda p: jnp.sum(model.apply(p, x) ** 2))(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    params, x = model.init(key), jnp.ones((4, 3))
    state = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):  # optax's own arithmetic
        for _ in range(2):
            params, state = step(params, state, x)
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(50):
            params, state = step(params, state, x)
        profile.disable()
    assert pstats.Stats(profile).total_calls / 50 <= 5
