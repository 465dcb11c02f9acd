from pathlib import Path

from chainlab.lab.gallery import END, START, fill, read_records, save_record, stale, stem, table
from chainlab.lab.gallery import page as gallery_page
from chainlab.lab.run import Run

ROOT = Path(__file__).parents[3]
CLAIMS = [
    {"metric": "test/accuracy", "value": 0.5, "spread": None, "goal": ">= 0.9", "met": False},
    {"metric": "seconds", "value": 3.0, "spread": None, "goal": "<= 60", "met": True},
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


def test_the_tables_of_this_project_are_what_their_records_say():
    records = read_records(ROOT / "docs" / "records")
    assert records
    assert stale(records) == []
    for name in ("README.md", "docs/gallery.md"):
        text = (ROOT / name).read_text()
        assert START in text
        assert fill(text, records) == text, f"{name}: run `make gallery`"
    pages = {path.name: path.read_text() for path in (ROOT / "docs" / "gallery").glob("*.md")}
    wanted = {f"{stem(record['config'])}.md": gallery_page(record) for record in records}
    assert pages == wanted, "docs/gallery: run `make gallery`"
