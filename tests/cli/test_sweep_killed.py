"""A sweep as a process that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def environment(folder):
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "CHAINLAB_CACHE": str(folder / "cache"), "JAX_PLATFORMS": "cpu"}


def arguments(out):
    rates = ",".join(f"{(index + 1) * 1e-3:g}" for index in range(8))
    return [
        *(sys.executable, "-m", "chainlab", "sweep", "mlp/digits", "--json", "--out", out),
        *("seeds=1", "run={steps: 400, log_every: 50, checkpoint_every: 100}", "model={hidden: [32]}", "expect=[]"),
        *("optimizer={name: adamw, learning_rate: 1e-3, weight_decay: 1e-2}", "--workers", "2"),
        *("--sweep", f"optimizer.learning_rate={rates}", "--sweep", "optimizer.weight_decay=1e-3,1e-2,1e-1"),
    ]


def ended(folder):
    return sorted(p.parent.name for p in folder.rglob("run.json") if json.loads(p.read_text())["status"] == "done")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_24_jobs_killed_three_times_run_once_each(tmp_path):
    whole = subprocess.run(arguments("whole"), cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    reference = json.loads(whole.stdout)["jobs"]
    assert len(reference) == 24

    for kills in range(3):
        process = subprocess.Popen(
            arguments("killed"),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while len(ended(tmp_path / "killed")) < 5 * (kills + 1):
            assert time.monotonic() < deadline
            assert process.poll() is None, "ended before it was killed"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = ended(tmp_path / "killed")
    assert 15 <= len(before) < 24

    last = subprocess.run(arguments("killed"), cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    after = ended(tmp_path / "killed")
    assert len(after) == 24
    assert set(before) <= set(after)
    found = json.loads(last.stdout)["jobs"]
    assert [(job["values"], job["final"]) for job in found] == [(job["values"], job["final"]) for job in reference]
    assert len({job["run"] for job in found}) == 24


@pytest.mark.slow
def test_a_signal_stops_the_sweep_and_not_only_its_job(tmp_path):
    command = [*arguments("stopped"), "run.steps=100000"]
    command[command.index("--workers") + 1] = "1"
    with subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "stopped").rglob("*.ckpt")):
            assert time.monotonic() < deadline
            assert process.poll() is None, "ended before it was stopped"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    records = [json.loads(path.read_text()) for path in (tmp_path / "stopped").rglob("run.json")]
    assert [record["status"] for record in records] == ["interrupted"]
