import json

import numpy as np
import pytest

from chainlab.errors import UsageError
from chainlab.lab import runs


def test_curves_have_one_column_a_seed(make_run):
    curves = runs.read(make_run()).curves
    assert sorted(curves["loss"]) == ["test", "train"]
    assert curves["loss"]["train"].values.shape == (10, 3)
    np.testing.assert_array_equal(curves["loss"]["test"].steps, [50, 100])
    assert runs.read(make_run("one", seeds=1)).curves["loss"]["train"].values.shape == (10, 1)


def test_a_line_cut_short_by_a_crash_is_left_out_and_any_other_refused(make_run):
    folder = make_run()
    file = folder / "metrics.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-20])
    assert len(runs.read(folder).curves["loss"]["train"].steps) == 10
    assert len(runs.read(folder).curves["loss"]["test"].steps) == 1
    file.write_text("{}\n" + whole)
    with pytest.raises(UsageError, match=r"metrics\.jsonl:1: not a line of metrics"):
        _ = runs.read(folder).curves


def test_runs_are_found_by_folder_part_of_name_and_latest(make_run, tmp_path):
    root = tmp_path / "runs"
    first = make_run("20261124-101500-aaaaaaaa")
    second = make_run("20261124-111500-bbbbbbbb", started="2026-11-24T11:15:00+00:00")
    (root / "mlp" / "broken").mkdir()
    (root / "mlp" / "broken" / "run.json").write_text("{")
    assert [run.path for run in runs.everything(root)] == [first, second]
    assert runs.find(first, root).path == runs.find("aaaaaaaa", root).path == first
    assert runs.find("latest", root).path == second
    assert runs.find("bbbb", root).name == "mlp/20261124-111500-bbbbbbbb"
    with pytest.raises(UsageError, match="several runs have that in their name"):
        runs.find("20261124", root)
    with pytest.raises(UsageError, match="no run of that name"):
        runs.find("cccc", root)
    with pytest.raises(UsageError, match=r"broken is not a run folder: run\.json"):
        runs.find(root / "mlp" / "broken", root)


def test_a_run_without_results_is_readable(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"status": "running"}))
    run = runs.read(tmp_path)
    assert (run.final, run.curves, run.config, run.seeds) == ({}, {}, "", [0])
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(UsageError, match="wanted an object, got a list"):
        runs.read(tmp_path)
