import runpy
from pathlib import Path

import pytest

from chainlab.lab.gallery import (
    END,
    START,
    benchmark_page,
    benchmark_table,
    fill,
    read_benchmarks,
    read_records,
    save_benchmark,
    save_record,
    stale,
    table,
)
from chainlab.lab.gallery import page as gallery_page
from chainlab.lab.run import Run

ROOT = Path(__file__).parents[3]
CLAIMS = [
    {"metric": "test/accuracy", "value": 0.5, "values": [0.5], "spread": None, "goal": ">= 0.9", "met": False},
    {"metric": "seconds", "value": 3.0, "values": [3.0], "spread": None, "goal": "<= 60", "met": True},
]


def test_a_record_goes_into_the_table_met_or_not(make_run, tmp_path):
    summary = {
        **{"claims": CLAIMS, "seeds": [0], "seconds": 3.0, "cores": 2, "config_hash": "x", "versions": {"jax": "1"}},
        **{"parameters": 1234, "started": "2026-11-24T10:15:00"},
    }
    save_record("mlp/digits", Run(make_run(), summary), tmp_path / "records")
    records = read_records(tmp_path / "records")
    assert "| 0.5 (not met) |" in table(records)
    page = f"# Title\n{START}\nold\n{END}\nrest\n"
    assert fill(page, records) == f"# Title\n{START}\n{table(records)}\n{END}\nrest\n"
    assert fill(fill(page, records), records) == fill(page, records)
    assert stale(records) == ["mlp/digits"]
    own = gallery_page(records[0])
    assert "| 0.5 (not met) |" in own
    assert "![loss over the steps](../records/mlp-digits/0.svg)" in own
    assert "learning_rate: {name: warmup_cosine_decay_schedule" in own
    assert (tmp_path / "records" / "mlp-digits" / "0.svg").read_text().startswith("<svg")


def test_a_record_of_other_claims_is_stale():
    (record,) = (each for each in read_records(ROOT / "docs" / "records") if each["config"] == "mlp/digits")
    assert stale([record]) == []
    (claim, *rest) = record["claims"]
    assert stale([{**record, "claims": [{**claim, "goal": ">= 0.5"}, *rest]}]) == ["mlp/digits"]


def test_the_pages_of_this_project_are_what_their_records_say(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gallery.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "docs" / "gallery.py"), run_name="__main__")
    assert not ended.value.code, capsys.readouterr().err
    assert read_records(ROOT / "docs" / "records")
    assert read_benchmarks(ROOT / "docs" / "records")


def test_a_benchmark_is_shown_with_what_it_lost(tmp_path):
    row = {
        "claim": "a/speed",
        "case": "step over |peer|",
        "value": 0.5,
        "spread": [0.4, 0.6],
        "goal": ">= 1",
        "peers": {},
    }
    rows = [
        {**row, "met": False, "peers": {"peer": 2.0}, "note": "two\nlines"},
        {**row, "value": None, "spread": None, "goal": "", "met": None, "note": ""},
    ]
    machine = {"processor": "P", "cores": 2, "python": "3.11", "jax": "0.10.2", "devices": ["cpu"]}
    path = save_benchmark({"bench": "a", "date": "2026-11-24", "machine": machine, "rows": rows}, tmp_path)
    assert path == tmp_path / "benchmarks" / "a.json"
    (record,) = read_benchmarks(tmp_path)
    lines = benchmark_table(record).splitlines()
    assert lines[2] == "| a/speed | step over \\|peer\\| (peer 2; two lines) | 0.5 | 0.4 to 0.6 | >= 1 | **no** |"
    assert lines[3] == "| a/speed | step over \\|peer\\| | missing |  |  |  |"
    page = benchmark_page([record])
    assert "`chainlab bench a` on 2026-11-24: P, 2 cores, Python 3.11, JAX 0.10.2 on cpu." in page
    assert benchmark_table(record) in page
    assert "Without a record yet: `deep`, `driving`," in page
