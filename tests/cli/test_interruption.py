"""Runs that are killed, interrupted and resumed, as processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_EXPERIMENT = """
from typing import Any

import chainlab
from chainlab.data.config import DatasetConfig


@chainlab.config
class KillConfig:
    width: int = 256


@chainlab.experiment
def kill(config: KillConfig) -> chainlab.Task:
    import jax.numpy as jnp
    import optax

    from chainlab import lab, nn

    dataset = DatasetConfig().load()
    model = nn.mlp((64, config.width, config.width, 10), dropout=0.1)

    def objective(params: Any, batch: Any, key: Any) -> Any:
        logits = model.apply(params, batch["x"], key=key)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), {}

    evaluate = lambda params, split: {"loss": objective(params, split, None)[0]}
    return lab.supervised(model, objective, optax.adam(1e-3), dataset.batches(64), evaluate=evaluate)
"""
_CONFIG = """
experiment: ./kill.py:kill
run: {steps: 6000, log_every: 50, eval_every: 500, checkpoint_every: 25, monitor: validation/loss, mode: min}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "kill.py").write_text(_EXPERIMENT)
    (tmp_path / "kill.yaml").write_text(_CONFIG)
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "chainlab", *map(str, arguments), "-q"]


def environment(folder):
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "CHAINLAB_CACHE": str(folder / "cache"), "JAX_PLATFORMS": "cpu"}


def call(folder, *arguments):
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def ended(run):
    """Fingerprint and lines of a finished run, read from its files alone."""
    from chainlab.lab import checkpoint
    from chainlab.lab.record import Record

    record = Record.open(run)
    assert record.summary["status"] == "done"
    leaves, meta = checkpoint.load(record.checkpoints()[0])
    assert meta["step"] == 6000
    lines = [json.loads(line) for line in record.metrics.read_text().splitlines()]
    return checkpoint.fingerprint(leaves), [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_25_kills_end_at_the_uninterrupted_hash(folder):
    whole = call(folder, "run", "kill.yaml", "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    reference = ended(next((folder / "whole" / "kill").iterdir()))

    random.seed(0)
    kills, runs = 0, folder / "killed" / "kill"
    arguments = ("run", "kill.yaml", "--out", "killed")
    while kills < 25:
        process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment(folder),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        run = None
        while run is None or not list((run / "checkpoints").glob("step-*.ckpt")):
            assert time.monotonic() < deadline
            assert process.poll() is None, "ended before it was killed"
            run = next(runs.iterdir(), None) if runs.exists() else None
            time.sleep(0.005)
        if kills:  # a resumed run: wait until it trains, seen by a checkpoint newer than what it began from
            began = max(p.name for p in (run / "checkpoints").glob("step-*.ckpt"))
            while max((p.name for p in (run / "checkpoints").glob("step-*.ckpt")), default=began) == began:
                assert time.monotonic() < deadline
                assert process.poll() is None, "ended before it was killed"
                time.sleep(0.002)
        time.sleep(random.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        arguments = ("resume", run)
    resumed = call(folder, "resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert ended(run) == reference
    assert not list((run / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_writes_a_checkpoint_and_prints_how_to_resume(folder, number, code):
    process = subprocess.Popen(
        command("run", "kill.yaml"), cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True
    )
    while not list(folder.glob("runs/kill/*/checkpoints/step-*.ckpt")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    (run,) = folder.glob("runs/kill/*")
    assert f"chainlab resume {run.relative_to(folder)}" in stderr
    summary = json.loads((run / "run.json").read_text())
    assert summary["status"] == "interrupted"
    assert call(folder, "resume", run).returncode == 0
    assert ended(run)[1][-1]["step"] == 6000
