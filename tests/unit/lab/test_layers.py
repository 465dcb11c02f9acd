import dataclasses
import json

import numpy as np
import pytest

from chainlab.errors import UsageError
from chainlab.lab.config.envelope import RunConfig
from chainlab.lab.layers import layer_panels
from chainlab.lab.record import Record, create_folder
from chainlab.lab.runner import Runner

pytestmark = pytest.mark.usefixtures("standard_promotion")
SETTINGS = RunConfig(steps=30, log_every=10, checkpoint_every=12)


def run(task, record, until=None, seeds=(0,)):
    runner = Runner(task, SETTINGS, seeds, record, diagnose_every=10)
    if record.checkpoints():
        runner.restore()
    runner.run(until=until)
    return (record.folder / "layers.jsonl").read_text()


@pytest.mark.slow
def test_layers_are_recorded_and_resume_exactly(task, tmp_path):
    whole = Record(create_folder(tmp_path, "whole", "0" * 8))
    text = run(task, whole)
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert rows[0]["subject"] == "objective"
    assert all(np.isfinite(curve).any() for curve in (rows[0]["curves"]["rms"], rows[0]["curves"]["adjoint_rms"]))

    parts = Record(create_folder(tmp_path, "parts", "0" * 8))
    run(task, parts, until=15)
    with open(parts.folder / "layers.jsonl", "a") as file:
        file.write('{"step": 20, "subject": "objective"}\n{"torn')
    assert run(task, parts) == text

    (panel,) = layer_panels(whole.folder)
    assert panel.figure is not None
    assert "objective" in panel.title


@pytest.mark.slow
def test_the_first_of_several_seeds_is_looked_at(task, tmp_path):
    alone, many = (Record(create_folder(tmp_path, name, "0" * 8)) for name in ("alone", "many"))
    one, first = (
        json.loads(run(task, record, seeds=seeds).splitlines()[0]) for record, seeds in ((alone, (3,)), (many, (3, 4)))
    )
    np.testing.assert_allclose(first["curves"]["adjoint_rms"], one["curves"]["adjoint_rms"], rtol=1e-4)


def test_a_task_without_subjects_says_so(task, record):
    with pytest.raises(UsageError, match="names no derivative"):
        Runner(dataclasses.replace(task, subjects=None), SETTINGS, (0,), record, diagnose_every=5)
