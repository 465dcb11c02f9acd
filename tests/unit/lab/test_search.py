"""Sweeps through optuna and submitit, on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainlab.errors import UsageError
from chainlab.lab.config import load
from chainlab.lab.search import search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("standard_promotion")]
ROOT = Path(__file__).parents[3]
BASE = [
    "seeds=1",
    "run={steps: 9, log_every: 3, eval_every: 1}",
    "model={hidden: [8]}",
    "optimizer={name: adam, learning_rate: 1e-3}",
    "expect=[]",
]
SWEEP = "sweep={optimizer.learning_rate: {log_uniform: [1e-5, 1e-1]}, model.activation: [relu, tanh]}"


@pytest.fixture
def searched():
    pytest.importorskip("optuna")

    def make(folder, settings, **options):
        overrides = [*BASE, SWEEP, f"search={settings}"]
        return search(load("mlp/digits", overrides), folder, overrides, **options)

    return make


def test_tpe_goes_on_where_it_was_killed(searched, tmp_path):
    settings = "{{trials: {}, sampler: tpe, metric: validation/accuracy}}"
    whole = searched(tmp_path / "whole", settings.format(5))
    assert [result.status for result in whole] == ["done"] * 5
    told = []
    searched(tmp_path / "part", settings.format(3))
    again = searched(tmp_path / "part", settings.format(5), tell=lambda result, done, total: told.append(done))
    assert told == [4, 5]
    assert [result.job.hash for result in again] == [result.job.hash for result in whole]
    listed = json.loads((tmp_path / "part" / "sweep.json").read_text())["jobs"]
    assert [each["config_hash"] for each in listed] == [result.job.hash for result in again]
    with pytest.raises(UsageError, match="no metric 'test/acuracy'; the runs give"):
        searched(tmp_path / "wrong", "{trials: 1, sampler: tpe, metric: test/acuracy}")


def test_asha_stops_the_worse_trials_early(searched, tmp_path):
    settings = "{trials: 7, pruner: asha, metric: validation/accuracy}"
    found = searched(tmp_path, settings)
    status = [result.status for result in found]
    assert set(status) == {"done", "pruned"}
    steps = [result.run.summary["step"] for result in found]
    assert {step for step, how in zip(steps, status, strict=True) if how == "pruned"} <= {1, 3}
    assert {step for step, how in zip(steps, status, strict=True) if how == "done"} == {9}
    again = searched(tmp_path, settings, tell=lambda *_: pytest.fail("nothing is left to do"))
    assert [result.run.path for result in again] == [result.run.path for result in found]
    overrides = [*BASE, SWEEP, f"search={settings}", "run.eval_every=null"]
    document = load("mlp/digits", overrides)
    with pytest.raises(UsageError, match=r"run\.eval_every"):
        search(document, tmp_path, overrides)


def test_jobs_run_on_a_cluster(tmp_path):
    pytest.importorskip("submitit")

    def chainlab(*options):
        rates = "optimizer.learning_rate=1e-3,1e30"
        words = ["sweep", "mlp/digits", *BASE, "optimizer.name=sgd", "--sweep", rates, "--cluster", "local", *options]
        command = [sys.executable, "-m", "chainlab", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = chainlab("--cluster-option", "timeout_min=5")
    assert done.returncode == 1, done.stderr
    assert "1/2" in done.stderr
    assert "not finite" in done.stderr  # the failed job, with its cause
    assert done.stdout.count("done") == 1
    wrong = chainlab("--cluster-option", "nonsense=5")
    assert wrong.returncode == 2, wrong.stderr
    assert "nonsense" in wrong.stderr
