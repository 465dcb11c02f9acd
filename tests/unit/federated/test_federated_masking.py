"""Masks cancel exactly in the sum, also when clients drop out, and in nothing less."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import federated
from chainlab.errors import UsageError

CLIENTS, SIZE = 10, 200


@pytest.fixture(scope="module")
def masked():
    values = {"w": jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (CLIENTS, SIZE)), jnp.float32)}
    bits = federated.fraction_bits(1.0, CLIENTS)
    encoded = federated.encode(values, bits)
    send = jax.jit(jax.vmap(lambda tree, client: federated.mask(tree, client, CLIENTS, jax.random.key(1))))
    return values, bits, encoded, send(encoded, jnp.arange(CLIENTS, dtype=jnp.int32))


def total(tree, who):
    return jax.tree.map(lambda leaf: jnp.sum(leaf[who], axis=0, dtype=jnp.uint32), tree)


def test_the_sum_is_exact_with_three_tenths_dropped_out(masked):
    values, bits, encoded, sent = masked
    survivors = jnp.asarray([i not in (2, 5, 9) for i in range(CLIENTS)])
    found = jax.jit(federated.unmask)(total(sent, survivors), survivors, jax.random.key(1))
    np.testing.assert_array_equal(found["w"], total(encoded, survivors)["w"])
    exact = np.sum(np.asarray(values["w"], np.float64)[survivors], axis=0)
    assert np.max(np.abs(federated.decode(found, bits)["w"] - exact)) <= 7 * 2.0 ** -(bits + 1)


def test_masks_cancel_without_recovery_when_all_answer(masked):
    _, _, encoded, sent = masked
    everyone = jnp.ones(CLIENTS, bool)
    np.testing.assert_array_equal(total(sent, everyone)["w"], total(encoded, everyone)["w"])


def test_less_than_the_whole_sum_tells_nothing(masked):
    """One message and a partial sum are uniform: a mean near 2^31 and no correlation with the value."""
    values, _, encoded, sent = masked
    for part, plain in ((sent["w"][0], values["w"][0]), (total(sent, jnp.arange(CLIENTS) < 6)["w"], values["w"][0])):
        part = np.asarray(part, np.float64) / 2**32
        assert abs(part.mean() - 0.5) < 4 / np.sqrt(12 * SIZE)
        assert abs(np.corrcoef(part, plain)[0, 1]) < 4 / np.sqrt(SIZE)
    assert not np.array_equal(sent["w"][0], encoded["w"][0])


def test_encoding_is_an_inverse_and_bounds_are_kept():
    values = jnp.asarray([-1.0, -0.25, 0.0, 0.5, 0.999], jnp.float32)
    np.testing.assert_allclose(federated.decode(federated.encode(values, 20), 20), values, atol=2.0**-21)
    assert CLIENTS * 2.0 ** federated.fraction_bits(3.0, CLIENTS) * 3.0 < 2**31
    with pytest.raises(UsageError, match="overflows"):
        federated.fraction_bits(1e9, 10)
    with pytest.raises(UsageError, match="overflows"):  # three times the rounded bound is 2^31 + 1
        federated.fraction_bits(715827882.6, 3)
    with pytest.raises(UsageError, match="wanted"):
        federated.fraction_bits(1.0, 0)
