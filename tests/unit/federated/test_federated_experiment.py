"""The experiment: a round is a step, the budget is recorded, and the partition is drawn."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chainlab.experiments.federated import FederatedConfig, federated

from chainlab.errors import UsageError
from chainlab.federated.config import ClientConfig, CompressionConfig, PartitionConfig, PrivacyConfig, SamplingConfig

pytestmark = pytest.mark.usefixtures("standard_promotion")


def run(config, steps):
    task = federated(config)
    key = jax.random.key(0)

    def step(state, index):
        return task.step(state, task.data.batch(key, index), jax.random.fold_in(key, index))

    state, metrics = jax.jit(lambda: jax.lax.scan(step, task.init(key), jnp.arange(steps)))()
    return task, state, metrics


@pytest.mark.slow
def test_a_skewed_federation_learns_and_draws_its_partition(tmp_path):
    partition = PartitionConfig(kind="dirichlet", clients=20, alpha=0.5, feature_shift=0.1, holdout=0.2)
    config = FederatedConfig(partition=partition, hidden=(16,), sampling=SamplingConfig(size=10, dropout=0.2))
    task, state, metrics = run(config, 25)
    assert np.all(metrics["bytes_up"] == metrics["clients"] * 4 * (64 * 16 + 16 + 16 * 10 + 10))
    assert metrics["loss"][-1] < metrics["loss"][0] / 2
    assert 4 < np.mean(metrics["clients"]) < 10
    assert np.all(metrics["worst_loss"] >= 0)
    assert jax.jit(task.evaluate)(state, task.data.splits["test"])["accuracy"] > 0.7
    recorded = [
        {"step": 10, "split": "train", "metrics": {"bytes_up": [1e6, 1e6], "bytes_down": 0.0, "drift_cosine": 0.5}},
        {"step": 10, "split": "test", "metrics": {"accuracy": [0.4, 0.6]}},
        {"step": 20, "split": "train", "metrics": {"bytes_up": [1e6, 1e6], "bytes_down": 0.0, "drift_cosine": 0.4}},
        {"step": 20, "split": "test", "metrics": {"accuracy": [0.7, 0.72]}},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, recorded)))
    drawn, targets, sent, fair = task.panels(state, tmp_path)
    assert drawn.note.startswith("20 clients")
    half = {"test accuracy": 0.5, "rounds (median of seeds)": "15", "seeds that reach it": "2 of 2"}
    assert targets.rows[0] == {**half, "MB both ways": "15.00"}
    assert targets.rows[1]["rounds (median of seeds)"] == "20"
    assert "held out" in fair.note
    served = {row["model"]: float(row["mean"]) for row in fair.rows}
    assert served["after the client's own training"] >= served["the server's"] > 0.6
    assert all(float(row["worst tenth"]) <= float(row["mean"]) for row in fair.rows)
    for panel in (drawn, sent, fair):
        panel.figure.savefig(tmp_path / f"{panel.title}.png")


@pytest.mark.slow
def test_own_layers_coded_updates_and_late_answers(tmp_path):
    partition = PartitionConfig(kind="dirichlet", clients=10, alpha=0.1, holdout=0.2)
    client = ClientConfig(own_layers=True, epochs=2, compression=CompressionConfig(fraction=0.25))
    own = FederatedConfig(partition=partition, hidden=(16,), client=client, sampling=SamplingConfig(size=5))
    task, state, metrics = run(own, 30)
    assert np.all(metrics["bytes_up"] == 5 * (256 + 4) * 6)  # a quarter of the first layer alone, with indices
    served = {row["model"]: float(row["mean"]) for row in task.panels(state, tmp_path)[-1].rows}
    assert served["after the client's own training"] > served["the server's"] + 0.2
    late = FederatedConfig(partition=partition, hidden=(), sampling=SamplingConfig(size=5, staleness=3))
    _, _, metrics = run(late, 12)
    assert metrics["staleness"][0] == 0
    assert 0.5 < np.mean(metrics["staleness"][4:]) < 2.5


@pytest.mark.slow
def test_the_budget_is_in_every_round_and_stops_the_run():
    pytest.importorskip("dp_accounting")
    config = FederatedConfig(
        partition=PartitionConfig(kind="column", column=2),
        hidden=(),
        client=ClientConfig(algorithm="fedsgd"),
        sampling=SamplingConfig(rate=0.5),
        privacy=PrivacyConfig(rounds=3),
    )
    _, state, metrics = run(config, 5)
    assert np.all(np.diff(metrics["epsilon"])[:2] > 0)
    assert not np.any(np.diff(metrics["epsilon"])[2:])
    _, stopped, _ = run(config, 3)
    jax.tree.map(np.testing.assert_array_equal, state.params, stopped.params)


def test_privacy_needs_poisson_sampling():
    with pytest.raises(UsageError, match=r"sampling\.rate"):
        federated(FederatedConfig(privacy=PrivacyConfig()))
