"""The documented example: the gradients of attention, taken apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.transformer import attention_weights, softmax_attention


@pytest.mark.slow
def test_explain_gives_the_gradients_of_queries_keys_and_values():
    explain = pytest.importorskip("chainlab.autodiff").explain
    query, key, value = (jax.random.normal(jax.random.key(i), (3, 1, 2)) for i in range(3))

    def last_token(query, key, value):
        return jnp.sum(softmax_attention(query, key, value)[-1])

    explanation = explain(last_token)(query, key, value)
    wanted = jax.grad(last_token, (0, 1, 2))(query, key, value)
    got = jax.tree.leaves(explanation.gradients)
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g, w, atol=1e-6)
    assert np.all(got[0][:-1] == 0)
    weights = attention_weights(query, key, jnp.ones((3, 3), bool))[0, -1]
    np.testing.assert_allclose(got[2][:, 0, 0], weights, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(got[1]), 0, atol=1e-6)
