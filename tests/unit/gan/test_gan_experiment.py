"""The experiment: its configs, a few steps of several seeds, what it refuses, and what its report shows."""

import jax
import numpy as np
import pytest

from chainlab.errors import ChainlabError
from chainlab.lab import loop
from chainlab.lab.config import load

pytestmark = pytest.mark.usefixtures("standard_promotion")
TINY = ["run.steps=2", "batch_size=8", "samples=64", "networks.generator=[4]", "networks.critic=[4]"]


def play(name, overrides, seeds=(0, 1)):
    task = load(name, [*TINY, *overrides]).task()
    built = loop.build(task, seeds, capacity=2)
    replica, metrics = built.steps(built.start(), 0, 2, task.data.arrays)
    return task, replica, metrics, built.evaluate(replica, task.data.splits["test"])


@pytest.mark.slow
def test_two_seeds_on_a_ring(tmp_path):
    task, replica, metrics, found = play("gan/ring8_unscaled", ["networks.frequencies=4"])
    assert np.all(np.isfinite(metrics["discriminator_loss"]))
    assert found["modes"].shape == (2,)
    assert np.all(np.asarray(found["real_modes"]) == 8)
    one = jax.tree.map(lambda x: x[0], replica.state)
    assert [panel.title for panel in task.panels(one, tmp_path)] == [
        "Samples",
        "Samples over training",
        "Spectrum of the game's Jacobian",
        "Phase portrait",
    ]
    subjects = task.subjects(one)
    value, _ = subjects["generator"].objective(
        subjects["generator"].params, task.data.batch(jax.random.key(0), 0), jax.random.key(1)
    )
    assert np.isfinite(value)


@pytest.mark.slow
def test_conditional_digits_and_stacked_ones(tmp_path):
    task, replica, _, found = play("gan/digits", ["classifier_steps=5"])
    assert {"fid_c", "real_fid_c", "class_accuracy", "variance_ratio", "copies", "coverage"} <= set(found)
    one = jax.tree.map(lambda x: x[0], replica.state)
    assert [panel.title for panel in task.panels(one, tmp_path)] == [
        "Samples",
        "Interpolations",
        "Samples over training",
        "An interpolation over training",
        "Phase portrait",
    ]
    _, _, _, found = play("gan/stacked_digits", ["classifier_steps=5"])
    assert {"modes", "kl", "kl_excess", "real_kl"} <= set(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "update", ["simultaneous", "extragradient", "optimistic", "consensus", "symplectic", "competitive", "implicit"]
)
def test_every_update_plays(update):
    _, _, metrics, _ = play("gan/ring8", [f"update.name={update}", "networks.frequencies=4"])
    assert np.all(np.isfinite(metrics["generator_loss"]))


@pytest.mark.slow
def test_path_length_is_reached_from_the_config():
    _, _, metrics, _ = play(
        "gan/ring8", ["loss.path_length={start: 1.0, end: 0.1, steps: 2}", "networks.frequencies=4"]
    )
    assert np.all(np.asarray(metrics["path_length"]) > 0)


@pytest.mark.slow
def test_an_unrolled_game_moves_the_generator_elsewhere():
    plain, unrolled = (play("gan/ring8", [f"update.unrolled={depth}"])[1].state.players for depth in (0, 2))
    one, other = (jax.tree.leaves(players.generator) for players in (plain, unrolled))
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "override",
    [
        "networks.normals=-1",
        "source.kind=cube",
        "loss.r1=-1",
        "update.critic_steps=0",
        "optimizer.b3=1.0",
        "loss.gamma=1",
    ],
)
def test_bad_values_are_refused_by_the_config(override):
    with pytest.raises(ChainlabError):
        load("gan/ring8", [override]).task()


def test_no_latent_coordinate_is_refused():
    with pytest.raises(ChainlabError, match="latent size"):
        load("gan/ring8", ["networks.normals=0", "networks.signs=0"]).task()
