"""Sweeps through optuna and submitit, on this machine."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chainlab.errors import UsageError
from chainlab.lab.cluster import submit
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


@contextlib.contextmanager
def scheduler(folder):
    """A Dask scheduler on the loopback with one worker; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1"]
    with contextlib.ExitStack() as stack:
        for words in ([*command, "--no-dashboard"], [*worker, "--no-dashboard"]):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = stack.enter_context(subprocess.Popen(words, cwd=folder, env=environment, **quiet))
            stack.callback(process.terminate)
        yield port


@pytest.mark.parametrize(
    ("cluster", "library", "option"),
    [("local", "submitit", "timeout_min=5"), ("dask", "distributed", "address=tcp://127.0.0.1:{port}")],
)
def test_jobs_run_on_a_cluster(cluster, library, option, tmp_path):
    pytest.importorskip(library)

    def chainlab(*options):
        rates = "optimizer.learning_rate=1e-3,1e30"
        words = ["sweep", "mlp/digits", *BASE, "optimizer.name=sgd", "--sweep", rates, "--cluster", cluster, *options]
        command = [sys.executable, "-m", "chainlab", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    with scheduler(tmp_path) if cluster == "dask" else contextlib.nullcontext() as port:
        done = chainlab("--cluster-option", option.format(port=port))
    assert done.returncode == 1, done.stderr
    assert "1/2" in done.stderr
    assert "not finite" in done.stderr  # the failed job, with its cause
    assert done.stdout.count("done") == 1


def test_a_parameter_that_the_cluster_does_not_take_is_named(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(UsageError, match="nonsense"):
        list(submit([], "local", tmp_path, {"nonsense": 5}))
