"""Runs listed, filtered, indexed and exported."""

import json
import sqlite3

import pytest

from chainlab.errors import UsageError
from chainlab.lab import index, load_curves, load_runs
from chainlab.lab.filters import parse, resolve, select, sort_rows
from chainlab.lab.frames import export


def names(rows):
    return [row["name"].split("/")[1] for row in rows]


@pytest.fixture
def root(make_run, tmp_path):
    make_run("a", config="experiment: mlp\noptimizer: {name: adam, learning_rate: 1.0e-05}\nlist: [64, 64]\n")
    make_run("b", shift=0.5, status="failed", error="boom", started="2026-11-24T11:00:00+00:00", seeds=1)
    make_run(
        "c", experiment="spiking", final={"train/accuracy": 0.1, "test/accuracy": [0.8, 1.0]}, started="2026-11-25"
    )
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ([], "abc"),
        (["experiment=spiking"], "c"),
        (["experiment!=spiking"], "ab"),
        (["metrics.accuracy>0.85"], "c"),
        (["accuracy >= 0.91"], ""),
        (["test/loss<0.5"], "a"),
        (["optimizer.learning_rate=1e-5"], "a"),
        (["config.optimizer.name=ad*"], "a"),
        (["list=[64, 64]"], "a"),
        (["error~BOO"], "b"),
        (["seeds=1"], "b"),
        (["git.dirty=true", "status=done"], "ac"),
        (["started=2026-11-25*"], "c"),
    ],
)
def test_filters(root, filters, wanted):
    assert names(select(index.rows(root), filters)) == list(wanted)


def test_filters_that_mean_nothing_are_refused(root):
    rows = index.rows(root)
    for text, words in (
        ("accuracy", "is no filter: wanted KEY=VALUE"),
        ("accuracy>high", "compares numbers, got 'high'"),
        ("experimnt=mlp", "did you mean 'experiment'"),
        ("metrics.acuracy>1", "no run has 'metrics.acuracy'"),
    ):
        with pytest.raises(UsageError, match=words):
            select(rows, [text])
    assert select([], ["anything=1"]) == []
    assert parse("a~b=c").value == "b=c"
    assert resolve("loss", {"metrics.train/loss": 1, "metrics.validation/loss": 2}) == "metrics.validation/loss"


def test_runs_are_sorted_by_number_then_text_then_nothing():
    rows = [{"k": "x"}, {}, {"k": 10}, {"k": 9.5}]
    assert sort_rows(rows, "k") == [{"k": 9.5}, {"k": 10}, {"k": "x"}, {}]
    assert sort_rows(rows, "-k") == [{"k": 10}, {"k": 9.5}, {"k": "x"}, {}]


def test_the_index_follows_the_folders_and_can_be_lost(root, make_run, monkeypatch):
    before = index.rows(root)
    monkeypatch.setattr(index, "row", lambda run: pytest.fail("read again"))
    assert index.rows(root) == before
    monkeypatch.undo()

    record = root / "mlp" / "a" / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "stopped"}))
    (root / "mlp" / "b" / "run.json").unlink()
    make_run("d", started="2026-11-26")
    found = index.rows(root)
    assert names(found) == ["a", "c", "d"]
    assert found[0]["status"] == "stopped"
    assert sqlite3.connect(root / "index.sqlite").execute("SELECT count(*) FROM runs").fetchone() == (3,)

    (root / "index.sqlite").write_text("not a database" * 100)
    assert index.rows(root) == found
    assert index.rows(root, rebuild=True) == found
    assert index.rows(root / "absent") == []


def test_runs_are_found_at_any_depth_and_a_folder_that_moves_keeps_its_index(root, tmp_path):
    index.rows(root)
    deep = root.rename(tmp_path / "sweeps")
    assert names(index.rows(tmp_path)) == list("abc")
    assert all(row["path"].startswith(str(deep)) for row in index.rows(deep))


def test_frames_and_files_hold_every_key(root, tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = load_runs(root, "metrics.accuracy>0.5")
    assert table.loc["mlp/c", "metrics.test/accuracy"] == pytest.approx(0.9)
    assert table.loc["mlp/c", "spread.test/accuracy"] == pytest.approx(0.1 * 2**0.5)
    assert load_runs(root).loc["mlp/a", "config.optimizer.learning_rate"] == 1e-5
    assert len(load_runs(tmp_path / "none")) == 0

    curves = load_curves(root, "seeds=1")
    assert list(curves.columns) == ["name", "split", "metric", "step", "seed", "value"]
    assert len(curves) == 12
    assert curves.query("split == 'test'")["step"].tolist() == [50, 100]
    assert len(load_curves(root, "seeds=3").query("step == 10 and name == 'mlp/a'")) == 3

    rows = index.rows(root)
    rows[0]["mixed"], rows[1]["mixed"] = "auto", 1.5
    export(rows, tmp_path / "runs.parquet")
    read = pd.read_parquet(tmp_path / "runs.parquet")
    assert read["mixed"].tolist()[:2] == ["auto", "1.5"]
    assert read["seconds"].tolist() == [9.0] * 3
    export(rows, tmp_path / "runs.csv")
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 4
    with pytest.raises(UsageError, match=r"\.parquet or \.csv"):
        export(rows, tmp_path / "runs.xlsx")
