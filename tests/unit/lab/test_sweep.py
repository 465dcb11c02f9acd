"""Sweeps: expansion, resumption by hash, failures, and jobs trained together."""

import json

import numpy as np
import pytest

from chainlab.errors import ConfigError, UsageError
from chainlab.lab.config import load
from chainlab.lab.jobs import jobs
from chainlab.lab.run import start
from chainlab.lab.sweep import results, sweep
from chainlab.lab.together import train_together

pytestmark = pytest.mark.usefixtures("standard_promotion")
BASE = [
    "seeds=1",
    "run={steps: 6, log_every: 3}",
    "model={hidden: [8]}",
    "optimizer={name: adamw, learning_rate: 1e-3, weight_decay: 1e-2}",
    "expect=[]",
]


def swept(text):
    overrides = [*BASE, f"sweep={text}"]
    document = load("mlp/digits", overrides)
    return document, jobs(document, overrides)


def test_every_combination_in_order_and_equal_ones_once():
    _, wanted = swept("{optimizer.learning_rate: [1e-3, 1e-2, 0.001], model.hidden: [[8], [4, 4]]}")
    assert [tuple(job.values.values()) for job in wanted] == [
        (0.001, [8]),
        (0.001, [4, 4]),
        (0.01, [8]),
        (0.01, [4, 4]),
    ]
    assert len({job.hash for job in wanted}) == 4


def test_mistakes_come_before_any_run():
    with pytest.raises(ConfigError, match="hiden"):
        swept("{model.hiden: [[8]]}")
    with pytest.raises(ConfigError, match="learning_rate"):
        swept("{optimizer.learning_rate: [1e-3, -1.0]}")
    with pytest.raises(UsageError, match="sweeps nothing"):
        jobs(load("mlp/digits", BASE), BASE)


@pytest.mark.slow
def test_what_is_done_is_kept_and_what_was_killed_continues(tmp_path):
    document, wanted = swept("{optimizer.learning_rate: [1e-3, 1e-2, 1e-1]}")
    done = start(load("mlp/digits", wanted[0].overrides), root=tmp_path / "runs", quiet=True)
    killed = start(load("mlp/digits", wanted[1].overrides), root=tmp_path / "runs", quiet=True, until=3)
    (tmp_path / "runs" / "mlp" / "made-but-empty").mkdir()
    assert [result.status for result in results(tmp_path, wanted)] == ["done", "pending", "pending"]

    told = []
    found = sweep(document, tmp_path, wanted, tell=lambda result, done, total: told.append((done, total)))
    assert [result.status for result in found] == ["done"] * 3
    assert told == [(2, 3), (3, 3)]
    assert [found[0].run.path, found[1].run.path] == [done.folder, killed.folder]
    assert len(list((tmp_path / "runs" / "mlp").iterdir())) == 3
    assert len(json.loads((tmp_path / "sweep.json").read_text())["jobs"]) == 3

    assert sweep(document, tmp_path, wanted, tell=lambda *_: pytest.fail("nothing is left to do"))


@pytest.mark.slow
def test_a_failed_job_is_named_and_retried_only_when_asked(tmp_path):
    document, wanted = swept("{optimizer: [{name: sgd, learning_rate: 1e30}, {name: sgd, learning_rate: 1e-2}]}")
    found = sweep(document, tmp_path, wanted, fail_fast=True)
    assert [result.status for result in found] == ["failed", "pending"]
    assert "not finite" in found[0].error
    found = sweep(document, tmp_path, wanted)
    assert [result.status for result in found] == ["failed", "done"]
    assert len(list((tmp_path / "runs" / "mlp").iterdir())) == 2
    sweep(document, tmp_path, wanted, retry=True)
    assert len(list((tmp_path / "runs" / "mlp").iterdir())) == 3


@pytest.mark.slow
def test_together_equals_one_by_one(tmp_path):
    text = "{optimizer.learning_rate: [1e-3, 1e-2], optimizer.weight_decay: [1e-3, 1e-1]}"
    document, wanted = swept(text)
    alone = sweep(document, tmp_path / "alone", wanted)
    both = train_together(document, tmp_path / "together", wanted)
    for one, other in zip(alone, both, strict=True):
        assert other.status == "done"
        assert one.run.final.keys() == other.run.final.keys()
        for name, value in one.run.final.items():
            np.testing.assert_allclose(other.run.final[name], value, atol=1e-5)
        assert one.run.curves.keys() == other.run.curves.keys()


@pytest.mark.parametrize("text", ["{model.activation: [relu, gelu]}", "{run.steps: [3, 6]}", "{batch_size: [8, 16]}"])
def test_together_takes_only_numbers_that_may_be_traced(tmp_path, text):
    document, wanted = swept(text)
    with pytest.raises(UsageError, match="--together"):
        train_together(document, tmp_path, wanted)
