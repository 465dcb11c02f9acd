"""Codes: their stated distortion and bias, their bytes, and what comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.errors import UsageError
from chainlab.optim import compression

SIZE = 301  # no multiple of a byte's codes or of a block
CODES = {
    "top_k": (compression.top_k(0.1), 30 * (4 + 2)),
    "random_k": (compression.random_k(0.1), 30 * 4 + 8),
    "random_k, unbiased": (compression.random_k(0.1, unbiased=True), 30 * 4 + 8),
    "scaled_sign": (compression.scaled_sign(), 38 + 4),
    "one_bit": (compression.one_bit(), 38 + 8),
    "qsgd, 2 bits": (compression.qsgd(2), 76 + 4),
    "qsgd, 4 bits": (compression.qsgd(4), 151 + 4),
    "qsgd, 8 bits": (compression.qsgd(8), 301 + 4),
    "int8": (compression.block_integer(64), 301 + 5 * 4),
    "bfloat16": (compression.cast(), 301 * 2),
}


def vectors(rng):
    """Gaussian, heavy-tailed, nearly one coordinate, constant."""
    spike = np.full(SIZE, 1e-3)
    spike[7] = 5.0
    rows = [rng.normal(size=SIZE), rng.standard_t(2, size=SIZE), spike, np.full(SIZE, -0.25)]
    return jnp.asarray(np.stack(rows), jnp.float32)


_FAST = ("top_k", "random_k, unbiased", "scaled_sign")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in _FAST else pytest.mark.slow) for n in CODES])
def test_a_code_keeps_its_stated_distortion_bias_and_bytes(name, rng, key):
    code, nbytes = CODES[name]
    x, draws = vectors(rng), 400

    def roundtrip(vector, key):
        return code.decode(code.encode(vector, key), SIZE)

    decoded = jax.jit(jax.vmap(jax.vmap(roundtrip, (None, 0)), (0, None)))(x, jax.random.split(key, draws))
    decoded, x = np.asarray(decoded, np.float64), np.asarray(x, np.float64)
    error = np.sum((decoded - x[:, None]) ** 2, axis=-1) / np.sum(x**2, axis=-1)[:, None]
    spread = np.std(error, axis=1) / draws**0.5
    assert np.all(np.mean(error, axis=1) <= code.distortion(SIZE) * 1.00001 + 4 * spread)
    # along random directions of signs: coordinate by coordinate, rare roundings hide a bias
    directions = np.sign(rng.normal(size=(8, SIZE)))
    along = (decoded - x[:, None]) @ directions.T
    limit = 5 * np.std(along, axis=1) / draws**0.5 + 1e-5 * np.abs(x @ directions.T)
    biased = np.abs(np.mean(along, axis=1)) > limit
    assert not np.any(biased) if code.unbiased else np.any(biased)
    assert code.unbiased or code.distortion(SIZE) < 1
    assert compression.wire_bytes(code, jnp.zeros(SIZE)) == nbytes
    zeros = roundtrip(jnp.zeros(SIZE), key)
    assert zeros.dtype == jnp.float32
    np.testing.assert_array_equal(zeros, 0)


def test_a_top_k_index_grows_with_the_vector():
    code = compression.top_k(0.01)
    assert compression.wire_bytes(code, jnp.zeros(65_536)) == 655 * 6
    assert compression.wire_bytes(code, jnp.zeros(65_537)) == 655 * 8
    x = jnp.zeros(70_000).at[69_999].set(2.0)
    assert code.decode(code.encode(x, jax.random.key(0)), x.size)[69_999] == 2


@pytest.mark.slow
def test_a_tree_comes_back_in_its_shapes_and_types(key):
    tree = {"a": jnp.ones((3, 4), jnp.bfloat16), "b": jnp.float32(2.0)}
    code = compression.block_integer(4)
    back = compression.decompress(code, compression.compress(code, tree, key), tree)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), back) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), tree
    )
    np.testing.assert_allclose(back["b"], 2.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compression.top_k(0.0), "0 < fraction <= 1"),
        (lambda: compression.random_k(1.5), "0 < fraction <= 1"),
        (lambda: compression.qsgd(3), "2, 4 or 8 bits"),
        (lambda: compression.block_integer(0), "block >= 1"),
        (lambda: compression.power_sgd(0), "rank >= 1"),
        (lambda: compression.momentum_correction(compression.all_reduce(), 1.0), "momentum < 1"),
        (lambda: compression.per_worker(0), "workers >= 1"),
        (lambda: compression.ExchangeConfig(name="qsgd", momentum=0.9), "momentum belongs to"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(UsageError, match=message):
        make()
