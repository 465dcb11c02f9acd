"""The experiments: controls do what they say, every kind takes a step, and the phase diagram ranks its scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chainlab.experiments.deep import DeepConfig, deep
from chainlab.experiments.phase_diagram import PhaseDiagramConfig, _spearman, phase_diagram

from chainlab.data.config import DatasetConfig
from chainlab.deep.config import ChainConfig
from chainlab.errors import UsageError
from chainlab.optim.config import OptimizerConfig


def steps(config, number=1):
    task = deep(config)
    key = jax.random.key(0)

    def step(state, index):
        return task.step(state, task.data.batch(key, index), key)

    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
        state = jax.jit(task.init)(key)
        return task, state, jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(number)))(state)


@pytest.mark.slow
def test_a_chain_learns_and_the_frozen_control_does_not_touch_it():
    chain = ChainConfig(depth=20, width=16)
    optimizer = OptimizerConfig(name="adam", learning_rate=1e-2)
    for frozen in (False, True):
        task, before, (after, metrics) = steps(DeepConfig(chain=chain, optimizer=optimizer, frozen=frozen), 40)
        assert metrics["loss"][-1] < metrics["loss"][0] / 2
        moved = float(jnp.max(jnp.abs(after.params["chain"]["scale"] - before.params["chain"]["scale"])))
        assert (moved == 0) == frozen
    found = jax.jit(task.evaluate)(after, task.data.splits["test"])
    np.testing.assert_allclose(found["accuracy"], found["bypass_accuracy"])  # a frozen ReZero chain is the identity


def test_flip_puts_linear_classifiers_at_chance():
    task = deep(DeepConfig(chain=ChainConfig(depth=1, width=4), flip=True))
    x, y = task.data.splits["test"]["x"], task.data.splits["test"]["y"]
    half = len(x) // 2
    np.testing.assert_array_equal(x[:half], -x[half:])
    np.testing.assert_array_equal(y[:half], y[half:])


@pytest.mark.slow
def test_only_scalars_of_the_chain_move_at_the_scale_rate():
    chain = ChainConfig(depth=3, width=8, connection="skipinit")
    optimizer = OptimizerConfig(name="sgd", learning_rate=1e-2)
    moves = []
    for rate in (1.0, 0.25):
        _, before, (after, _) = steps(DeepConfig(chain=chain, optimizer=optimizer, scale_rate=rate))
        moves.append(jax.tree.map(lambda a, b: a - b, after.params, before.params))
    np.testing.assert_allclose(moves[1]["chain"]["scale"], 0.25 * moves[0]["chain"]["scale"], rtol=1e-3)
    np.testing.assert_allclose(moves[1]["head"]["weight"], moves[0]["head"]["weight"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [
        ChainConfig(kind="convolution", depth=2, width=4, connection="plain", activation="tanh", orthogonal=True),
        ChainConfig(kind="transformer", depth=2, width=8, heads=2, connection="deepnorm", activation="gelu"),
        ChainConfig(kind="mlp", depth=4, width=8, connection="pre_norm", memory="reversible"),
    ],
)
def test_every_kind_takes_a_step(chain):
    _, _, (state, metrics) = steps(DeepConfig(chain=chain, agc=0.1, batch_size=16))
    assert jnp.isfinite(metrics["loss"][0])
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(state.params))


def test_kinds_over_images_refuse_tables():
    config = DeepConfig(data=DatasetConfig(name="wine"), chain=ChainConfig(kind="convolution"))
    with pytest.raises(UsageError, match="convolution wants images, got 13 features"):
        deep(config)


@pytest.mark.slow
def test_phase_diagram_trains_every_cell():
    config = PhaseDiagramConfig(depths=(2, 3), sigma_w=(0.5, 1.3), width=8, batch_size=16)
    task, key = phase_diagram(config), jax.random.key(0)
    state = jax.jit(task.init)(key)
    after, metrics = jax.jit(task.step)(state, task.data.batch(key, 0), key)
    assert sorted(metrics) == ["loss_2", "loss_3"]
    for depth in ("2", "3"):
        weight = state[depth].params["chain"]["dense0"]["weight"]
        assert weight.shape == (2, int(depth), 8, 8)
        assert jnp.std(weight[1]) / jnp.std(weight[0]) == pytest.approx(1.3 / 0.5, rel=0.25)
        assert jnp.max(jnp.abs(after[depth].params["chain"]["dense0"]["weight"] - weight)) > 0
    (panel,) = task.panels(after, None)
    assert [row["phase"] for row in panel.rows] == ["ordered", "ordered"]
    assert float(_spearman(jnp.array([1.0, 5.0, 2.0]), jnp.array([0.1, 0.9, 0.4]))) == pytest.approx(1.0)
