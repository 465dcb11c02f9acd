import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import data
from chainlab.errors import DataError, UsageError


@pytest.mark.parametrize("length", [1, 2, 3, 64, 100, 1437])
def test_permute_is_a_bijection(length, key):
    image = data.permute(jnp.arange(length), length, key)
    assert sorted(np.asarray(image).tolist()) == list(range(length))


def test_permute_depends_on_the_key():
    orders = {tuple(data.permute(jnp.arange(50), 50, jax.random.key(s)).tolist()) for s in range(20)}
    assert len(orders) == 20


@pytest.mark.slow
def test_permute_spreads_every_index_evenly():
    """The place of an index over many keys is uniform: a chi-squared statistic near its expectation."""
    length, draws = 10, 4000
    keys = jax.random.split(jax.random.key(1), draws)
    image = jax.vmap(lambda k: data.permute(jnp.arange(length), length, k))(keys)
    for column in np.asarray(image).T:
        counts = np.bincount(column, minlength=length)
        statistic = np.sum((counts - draws / length) ** 2) / (draws / length)
        assert statistic < 33.7  # chi-squared, 9 degrees of freedom, p = 1e-4


def test_in_memory_covers_an_epoch_and_reshuffles(key):
    batches = data.in_memory({"x": np.arange(12)}, 4)
    assert batches.steps_per_epoch == 3
    epochs = [np.concatenate([batches.batch(key, 3 * e + s)["x"] for s in range(3)]) for e in range(2)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_batches_are_a_function_of_the_position(key):
    batches = data.in_memory(np.arange(100), 7)
    compiled = jax.jit(batches.batch)
    for position in (0, 5, 99):
        np.testing.assert_array_equal(batches.batch(key, position), compiled(key, position))


def test_bad_arguments_say_what_was_wanted():
    with pytest.raises(UsageError, match=r"1\.\.10 .*got 11"):
        data.in_memory(np.arange(10), 11)
    with pytest.raises(DataError, match=r"\[3, 4\]"):
        data.in_memory({"x": np.zeros(3), "y": np.zeros(4)}, 1)
