"""Runs: a checkpoint from one mesh goes on on another, and several processes train and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from chainlab.errors import CheckpointError, UsageError
from chainlab.lab import checkpoint, run
from chainlab.lab.config import load

pytest.importorskip("orbax.checkpoint")
pytestmark = [
    pytest.mark.usefixtures("standard_promotion"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:orbax.*"),
]
SMALL = """
experiment: mlp
model: {hidden: [32]}
batch_size: 64
run: {steps: 60, log_every: 20, eval_every: 30, checkpoint_every: 20, monitor: test/accuracy}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["metrics"]["loss"] for row in rows]


@pytest.mark.slow
def test_a_checkpoint_goes_on_on_another_mesh(config, tmp_path):
    whole = run.start(load(config), root=tmp_path, quiet=True)
    square = "{data: 2, fsdp: 2}"
    for mesh, other in ((square, "{fsdp: 4, tensor: 2}"), (square, "null"), ("null", "{fsdp: 8}")):
        stopped = run.start(load(config, [f"mesh={mesh}"]), root=tmp_path, quiet=True, until=30)
        saved = stopped.folder / "checkpoints" / "step-000000030.ckpt"
        assert saved.is_dir() == (mesh != "null")
        resumed = run.resume(stopped.folder, quiet=True, overrides=[f"mesh={other}"])
        assert resumed.summary["status"] == "done"
        np.testing.assert_allclose(losses(resumed.folder), losses(whole.folder), rtol=1e-5)
        assert len(list((resumed.folder / "checkpoints").iterdir())) == 3  # two steps and the best
    params = run.start(load(config, ["mesh={fsdp: 8}"]), root=tmp_path, quiet=True)
    stored, _ = checkpoint.load(next(iter((params.folder / "checkpoints").glob("step-*"))))
    assert np.asarray(stored["['last'].state.params['dense0']['weight']"]).shape == (64, 32)


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture_or_a_damaged_one_is_named(config, tmp_path):
    stopped = run.start(load(config, ["mesh={fsdp: 2}"]), root=tmp_path, quiet=True, until=10)
    (path,) = (stopped.folder / "checkpoints").glob("step-*")
    stored, _ = checkpoint.load(path)
    template = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in stored.items()}
    name = "['last'].state.params['dense0']['weight']"
    template[name] = jax.ShapeDtypeStruct((64, 33), np.float32)
    stored = {f"[{key!r}]": leaf for key, leaf in stored.items()}
    with pytest.raises(CheckpointError, match=r"different .*dense0.*wanted float32\[64, 33\], got float32\[64, 32\]"):
        checkpoint.fit(stored, template, source=str(path))
    for file in path.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoint.load(path)


@pytest.mark.slow
def test_a_mesh_that_does_not_fit_leaves_no_folder(config, tmp_path):
    with pytest.raises(UsageError, match="got 64 examples"):
        run.start(load(config, ["mesh={data: 3}"]), root=tmp_path / "runs", quiet=True)
    with pytest.raises(UsageError, match="needs 16 devices, found 8"):
        run.start(load(config, ["mesh={data: 16}"]), root=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()


def command(*arguments):
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "chainlab", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*arguments):
    process = command(*arguments)
    out, talk = process.communicate(timeout=150)
    return process.returncode, out, talk


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_processes_train_as_one_and_end_together_when_one_is_killed(config, tmp_path):
    whole = run.start(load(config), root=tmp_path / "one", quiet=True)
    mesh = "mesh={data: 2, fsdp: 2}"
    code, out, talk = finish(
        "run", config, mesh, "--processes", 2, "--virtual-devices", 4, "--out", tmp_path / "two", "-q", "--json"
    )
    assert code == 0, talk
    np.testing.assert_allclose(losses(Path(json.loads(out)["run"])), losses(whole.folder), rtol=1e-5)

    long = ["run.steps=2000000", "run.checkpoint_every=20", "run.eval_every=null", "run.monitor=null"]
    process = command(
        "run", config, mesh, *long, "--processes", 2, "--virtual-devices", 4, "--out", tmp_path / "killed", "-q"
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("step-*.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    os.kill(int(children.split()[1]), signal.SIGKILL)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process 1 of 2 was ended by SIGKILL" in talk
    (folder,) = (tmp_path / "killed" / "mlp").iterdir()
    assert f"chainlab resume {folder} --processes 2" in talk
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    before = json.loads((folder / "run.json").read_text())
    resumed = run.resume(folder, quiet=True, until=before.get("step", 0) + 100, overrides=["mesh={fsdp: 8}"])
    assert resumed.summary["status"] == "stopped"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_four_processes_train_as_one(config, tmp_path):
    whole = run.start(load(config), root=tmp_path / "one", quiet=True)
    shared = ("--virtual-devices", 4, "--out", tmp_path / "four", "-q", "--json")
    code, out, talk = finish("run", config, "mesh={data: 2, tensor: 2}", "--processes", 4, *shared)
    assert code == 0, talk
    found = json.loads(out)
    np.testing.assert_allclose(losses(Path(found["run"])), losses(whole.folder), rtol=1e-5)
    assert len(losses(whole.folder)) > 2
