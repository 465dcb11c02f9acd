"""Clipping of the whole gradient, against optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab.optim import clip_by_global_norm

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e3, 1e30, jnp.nan])
def test_it_is_the_clipping_of_optax(key, scale):
    gradients = {"a": scale * jax.random.normal(key, (3, 4)), "b": jnp.ones(2, jnp.bfloat16), "c": jnp.zeros(())}
    got, want = (clip.update(gradients, clip.init(gradients))[0] for clip in _both(2.0))
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(*(np.asarray(x, np.float32) for x in (ours, theirs)), rtol=1e-2, atol=1e-30)
    np.testing.assert_allclose(got["a"], want["a"], rtol=1e-6)
    if scale == 0.01:
        assert all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.all(x == y)), got, gradients)))


def _both(length):
    return clip_by_global_norm(length), optax.clip_by_global_norm(length)


@pytest.mark.slow
def test_no_second_copy_of_the_gradients_is_kept():
    params = {"w": jax.ShapeDtypeStruct((256, 1024), jnp.float32)}
    temporary = []
    for clip in _both(1.0):
        optimizer = optax.chain(clip, optax.adam(1e-3))

        def step(gradients, state, params, optimizer=optimizer):
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        program = jax.jit(step, donate_argnums=(1, 2)).lower(params, jax.eval_shape(optimizer.init, params), params)
        temporary.append(program.compile().memory_analysis().temp_size_in_bytes)
    size = 256 * 1024 * 4
    assert temporary[0] < 0.1 * size < size <= temporary[1]
