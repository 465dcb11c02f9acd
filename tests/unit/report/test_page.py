import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import pyplot

from chainlab import Panel
from chainlab.errors import UsageError
from chainlab.lab import report, runs

HOSTILE = """<script>alert("x")</script><img src=http://example.org/x onerror='alert(1)'>&amp;"""


class Page(HTMLParser):
    """Text by heading, tags, and every attribute that could load something."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"<{tag} {name}={value}>"
            if name in ("src", "href", "xlink:href", "action"):
                self.links.append(value)

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def page_of(folder):
    return Page(report.write(folder).read_text())


def test_a_report_says_everything_and_loads_nothing(make_run):
    page = page_of(make_run())
    for wanted in (
        "mlp/20261124-101500-1a2b3c4d", "done", "test/loss <= 0.5 0.02 met", "Parameters 85,002",
        "Mean over seeds 0, 1, 2", "chainlab run mlp/digits", "experiment: mlp",
        "git 0123abcd with uncommitted changes", "2 × cpu", "jax 0.10.2", "CC BY 4.0", "train", "step",
    ):  # fmt: skip
        assert wanted in page.words, wanted
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert page.tags.count("svg") == 1


def test_the_file_is_small(make_run):
    assert report.write(make_run()).stat().st_size < 60_000


def test_results_over_seeds(make_run):
    folder = make_run(final={"test/loss": [1.0, 2.0, 3.0]})
    assert "test/loss 2 ± 2.5 1 3 1, 2, 3" in page_of(folder).words
    folder = make_run("one", seeds=1, final={"test/loss": 1.5})
    assert "test/loss 1.5" in page_of(folder).words
    assert "±" not in page_of(folder).words


def test_markup_in_names_and_notes_shows_as_text(make_run):
    pyplot.rcParams.update(pyplot.rcParamsDefault)
    figure, axes = pyplot.subplots()
    axes.set_title(HOSTILE)
    folder = make_run(
        experiment=HOSTILE,
        note=HOSTILE,
        tags=[HOSTILE],
        command=HOSTILE,
        config_hash=HOSTILE,
        final={HOSTILE: [1.0, 2.0, 3.0]},
        claims=[{"metric": HOSTILE, "goal": HOSTILE, "value": 1.0, "met": False}],
        config=HOSTILE,
        data={"name": HOSTILE},
    )
    line = {"step": 1, "split": HOSTILE, "seconds": 0, "metrics": {HOSTILE: 1.0, "$x$ $": 2.0}}
    (folder / "metrics.jsonl").write_text(json.dumps(line))
    report.save_panels([Panel(HOSTILE, figure, [{HOSTILE: HOSTILE}], HOSTILE)], folder)
    page = page_of(folder)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.words.count(HOSTILE) >= 12
    other = make_run("other", config=f"note: '{HOSTILE.replace(chr(39), '')}'", experiment=HOSTILE)
    comparison = report.compare([runs.read(other), runs.read(make_run("third"))])
    page = Page(report.write_comparison(comparison, folder / "compare.html").read_text())
    assert "script" not in page.tags
    assert "<script>" in page.words


def test_numbers_that_are_not_finite_are_shown(make_run):
    folder = make_run(final={"test/loss": [float("nan"), 1.0, 2.0]}, status="failed", error="step 3: loss is nan")
    (folder / "metrics.jsonl").write_text('{"step": 1, "split": "train", "metrics": {"loss": [NaN, 1.0, 2.0]}}\n')
    words = page_of(folder).words
    assert "nan" in words
    assert "failed" in words
    assert "step 3: loss is nan" in words


def test_a_run_that_has_only_begun_has_a_report(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "running"}')
    assert "running" in page_of(tmp_path).words
    with pytest.raises(UsageError, match="not a run folder"):
        report.write(tmp_path / "absent")


def test_the_same_run_gives_the_same_page(make_run):
    folder = make_run()
    assert report.write(folder).read_bytes() == report.write(folder).read_bytes()


def test_panels_are_kept_and_shown_again(make_run):
    figure, axes = pyplot.subplots()
    axes.imshow(np.eye(3))
    axes.plot([0, 1], [0, 1], color="black")
    rows = [{"class": "zero", "recall": np.float32(0.5), "n": np.int64(3), "ok": True, "none": None}]
    folder = make_run()
    report.save_panels([Panel("By class", rows=rows, note="A note."), Panel("Matrix", figure)], folder)
    assert not pyplot.fignum_exists(figure.number)
    saved = report.load_panels(folder)
    assert saved[0].rows == [{"class": "zero", "recall": 0.5, "n": 3, "ok": True, "none": None}]
    assert "currentColor" in saved[1].svg
    assert "#000000" not in saved[1].svg
    page = page_of(folder)
    assert "By class class recall n ok none zero 0.5 3 yes – A note. Matrix" in page.words
    assert "image" in page.tags
    (folder / "panels" / "1.svg").unlink()
    with pytest.raises(UsageError, match=r"panels\.json: not a list of panels"):
        report.load_panels(folder)
    (folder / "panels.json").write_text('{"title": 1}')
    with pytest.raises(UsageError, match=r"panels\.json"):
        report.load_panels(folder)
    assert report.load_panels(make_run("none")) == []


def test_a_panel_cannot_name_a_file_outside_its_folder(make_run, tmp_path):
    folder = make_run()
    report.save_panels([], folder)
    (tmp_path / "secret").write_text("secret")
    entry = {"title": "t", "rows": [], "note": "", "figure": "../../../../secret"}
    (folder / "panels.json").write_text(json.dumps([entry]))
    with pytest.raises(UsageError, match=r"panels\.json"):
        report.load_panels(folder)


def test_ids_differ_between_the_figures_of_a_page(make_run):
    folder = make_run()
    line = {"step": 1, "split": "train", "metrics": {"a": 1.0, "b": 1.0}}
    (folder / "metrics.jsonl").write_text(json.dumps(line))
    html = report.write(folder).read_text()
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) > 2


def test_comparison(make_run, tmp_path):
    first = make_run("a", config="experiment: mlp\nmodel: {width: 64, depth: 2}\n")
    second = make_run(
        "b",
        config="experiment: mlp\nmodel: {width: 128, depth: 2}\nnote: x\n",
        seeds=1,
        shift=0.5,
        versions={"jax": "0.12"},
    )
    comparison = report.compare([runs.read(first), runs.read(second)])
    assert {row.key: list(row.values) for row in comparison.config} == {
        "model.width": ["64", "128"],
        "note": [None, "x"],
    }
    environment = {row.key: list(row.values) for row in comparison.environment}
    assert environment == {"versions.python": ["3.11.7", None], "versions.jax": ["0.10.2", "0.12"]}
    (result,) = [each for each in comparison.results if each.metric == "test/loss"]
    assert result.values[1].mean - result.values[0].mean == pytest.approx(0.49)
    page = Page(report.write_comparison(comparison, tmp_path / "new" / "compare.html").read_text())
    assert "model.width 64 128" in page.words
    assert page.tags.count("svg") == 2  # train/loss and test/loss, both runs in each
    assert page.words.count("mlp/b") >= 5
    with pytest.raises(UsageError, match="two runs or more, got 1"):
        report.compare([runs.read(first)])
    (first / "config.yaml").write_text("a: [")
    with pytest.raises(UsageError, match=r"config\.yaml: not readable as YAML"):
        report.compare([runs.read(first), runs.read(second)])


def test_a_metric_that_only_one_run_has(make_run):
    comparison = report.compare(
        [runs.read(make_run("a", final={"test/x": [1.0]})), runs.read(make_run("b", final={"test/y": [2.0]}))]
    )
    assert [[value and value.mean for value in row.values] for row in comparison.results] == [[1.0, None], [None, 2.0]]
