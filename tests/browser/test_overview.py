"""The page over all runs in headless Chromium."""

import json
import math
import time

import pytest

from chainlab.lab.report import write_overview

pytestmark = [pytest.mark.browser, pytest.mark.slow]
EVIL = "</script><img src=x onerror=alert(1)><b>"


@pytest.fixture
def root(make_run, tmp_path):
    make_run("a", config="experiment: mlp\nmodel: {width: 64}\n")
    make_run("b", config="experiment: mlp\nmodel: {width: 128}\n", shift=0.5, status="failed", error="boom")
    make_run("c", config="experiment: mlp\nmodel: {width: 128}\n", shift=0.2, experiment="spiking")
    (tmp_path / "runs" / "mlp" / "a" / "report.html").write_text("<h1>report of a</h1>")
    return tmp_path / "runs"


def names(page):
    return [text.split("/")[1] for text in page.texts("#runs tbody th")]


def query(page, text):
    box = page.one("#query")
    box.clear()
    box.send_keys(text)


def test_it_filters_like_the_command_line_and_sorts(root, open_page):
    page = open_page(write_overview(root))
    assert sorted(names(page)) == ["a", "b", "c"]
    for text, wanted in (
        ("experiment=spiking", "c"),
        ("loss<0.3", "ac"),
        ("model.width=128 status=fail*", "b"),
        ("spik", "c"),
        ('error~"boo"', "b"),
        ("status!=done", "b"),
        ("nothing=1", ""),
    ):
        query(page, text)
        assert sorted(names(page)) == list(wanted), text
    query(page, "loss<high")
    assert page.all("#query.wrong")
    query(page, " ")
    assert not page.all("#query.wrong")
    heads = {head.text.split()[0]: head for head in page.all("#runs thead button")}
    heads["test/loss"].click()
    assert names(page) == ["a", "c", "b"]
    assert page.one("#runs th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.one("#runs th[aria-sort] button").click()
    assert names(page) == ["b", "c", "a"]
    page.silent()


def test_chosen_runs_are_overlaid_and_their_differences_shown(root, open_page, browser):
    page = open_page(write_overview(root))
    assert not page.one("#chosen").is_displayed()
    for name in "ab":
        page.one(f'[aria-label="Choose mlp/{name}"]').click()
    assert page.texts("#legend li") == ["mlp/a", "mlp/b"]
    assert page.texts(".chart .title") == ["train/loss", "test/loss"]
    charts = page.all(".chart")
    assert [len(chart.find_elements("css selector", "path.line")) for chart in charts] == [2, 2]
    assert len(page.all(".chart path.band")) == 4
    rows = dict(zip(page.texts("#differences tbody th"), page.all("#differences tbody tr"), strict=True))
    assert rows["model.width"].text == "model.width 64 128"
    assert "experiment" not in rows
    page.silent()

    again = open_page(browser.current_url)
    browser.refresh()
    assert again.texts("#legend li") == ["mlp/a", "mlp/b"]  # the address remembers
    again.one("#clear").click()
    assert not again.one("#chosen").is_displayed()
    again.one("#runs tbody a").click()
    assert again.texts("h1") == ["report of a"]


def test_columns_can_be_chosen(root, open_page):
    page = open_page(write_overview(root))
    page.one("#columns summary").click()
    (label,) = [each for each in page.all("#columns label") if each.text == "error"]
    label.click()
    assert "boom" in page.texts("#runs tbody td")
    page.silent()


def test_names_and_notes_are_text_and_never_markup(make_run, tmp_path, open_page):
    words = {"note": EVIL, "tags": [EVIL], "experiment": EVIL, "status": EVIL}
    folder = make_run("x", config=f"experiment: '{EVIL}'\n'{EVIL}': 1\n", **words)
    make_run("y", note=EVIL, final={f"test/{EVIL}": 1.0})
    values = [1.0, math.nan, 2.0]
    lines = [{"step": step, "split": "test", "metrics": {EVIL: value}} for step, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evil = folder.rename(folder.with_name("<img src=x onerror=alert(2)>"))
    (evil / "report.html").write_text("here")
    page = open_page(write_overview(tmp_path / "runs"))
    page.one("#choose").click()
    assert page.all("img") == page.all("b") == []
    assert page.all("script") == page.all("body > script")
    assert EVIL in page.texts("#runs tbody td")
    assert f"test/{EVIL}" in page.texts(".chart .title")
    page.silent()
    page.one("#runs tbody a").click()
    assert page.texts("body") == ["here"]


def test_a_watched_page_loads_itself_again(root, make_run, open_page):
    page = open_page(write_overview(root, refresh=0.3))
    assert page.texts("#count") == ["3 runs"]
    make_run("d")
    write_overview(root, refresh=0.3)
    deadline = time.monotonic() + 5
    while page.texts("#count") != ["4 runs"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_thousand_runs(make_run, tmp_path, open_page):
    template = make_run("template")
    files = {name: (template / name).read_text() for name in ("metrics.jsonl", "config.yaml", "run.json")}
    for number in range(1, 1000):
        folder = template.with_name(f"run-{number:04d}")
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text.replace("seed: 0", f"seed: {number}").replace("9.0", f"{number}.5"))
    began = time.perf_counter()
    path = write_overview(tmp_path / "runs")
    assert time.perf_counter() - began < 5
    page = open_page(path)
    script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert page.browser.execute_script(script) < 1000
    deadline = time.monotonic() + 5
    while len(names(page)) < 1000:
        assert time.monotonic() < deadline
    began = time.perf_counter()
    query(page, "seconds>990")
    assert len(names(page)) == 10
    assert time.perf_counter() - began < 5
    page.one("#choose").click()
    assert len(page.all(".chart path.line")) == 16
    page.silent()
