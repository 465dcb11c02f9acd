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
def test_a_training_loop_keeps_no_second_copy_of_the_gradients():
    params, x = jax.ShapeDtypeStruct((256, 1024), jnp.float32), jax.ShapeDtypeStruct((8, 256), jnp.float32)
    temporary = []
    for clip in _both(1.0):
        optimizer = optax.chain(clip, optax.adam(1e-3))

        def step(carry, x, optimizer=optimizer):
            params, state = carry
            gradients = jax.grad(lambda w: jnp.sum(jnp.square(jnp.tanh(x @ w))))(params)
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        loop = jax.jit(lambda carry, x: jax.lax.fori_loop(0, 9, lambda _, c: step(c, x), carry), donate_argnums=0)
        program = loop.lower((params, jax.eval_shape(optimizer.init, params)), x)
        temporary.append(program.compile().memory_analysis().temp_size_in_bytes)
    assert temporary[0] < temporary[1] - 0.9 * 256 * 1024 * 4
