"""Reports in a real browser: headless Chromium, driven over its own command line."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib import pyplot

from chainlab import Panel
from chainlab.lab import report, runs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
]


def browse(page, folder, *flags):
    """Open a page; returns its document after loading, and the network log."""
    log = folder / "net.json"
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    machine = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'p'}",
    ]
    watch = ["--enable-logging=stderr", "--v=0", f"--log-net-log={log}"]
    command = [BROWSER, *machine, *quiet, *watch, *flags, f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr, log.read_text()


@pytest.fixture
def page(make_run):
    figure, axes = pyplot.subplots()
    axes.imshow(np.eye(4))
    folder = make_run(note="<script>console.error('ran')</script>")
    report.save_panels([Panel("Matrix", figure), Panel("By class", rows=[{"class": "a", "recall": 0.5}])], folder)
    return report.write(folder)


def requests(log):
    """Addresses that the page asked for; the browser's own traffic has no origin."""
    asked = [event.get("params", {}) for event in json.loads(log)["events"]]
    return [each["url"] for each in asked if each.get("initiator", "not an origin") != "not an origin"]


def test_a_report_opens_clean(page, tmp_path):
    document, messages, log = browse(page, tmp_path, "--dump-dom")
    headings = re.findall(r"<h2>(.*?)</h2>", document)
    assert headings == ["Claims", "Results", "Curves", "mlp", "Reproduce", "Config", "Provenance"]
    assert document.count("<svg") == 2
    assert "CONSOLE" not in messages
    assert requests(log) == []


def test_the_console_and_the_network_would_be_noticed(tmp_path):
    """The two checks above do see an error and a request."""
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('seen')</script><img src='http://127.0.0.1:9/x.png'>")
    _, messages, log = browse(page, tmp_path, "--dump-dom")
    assert "CONSOLE" in messages
    assert requests(log) == ["http://127.0.0.1:9/x.png"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_in_light_and_dark_and_fits_a_phone(page, tmp_path, scheme):
    image = pytest.importorskip("PIL.Image")
    shot = tmp_path / "shot.png"
    setting = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    browse(page, tmp_path, "--hide-scrollbars", "--window-size=500,1600", f"--screenshot={shot}", setting)
    pixels = np.asarray(image.open(shot).convert("L"))
    background = pixels[0, 0]
    assert (background > 200) == (scheme == "light")
    assert np.all(np.abs(pixels[:, -8:].astype(int) - background) < 8)  # nothing runs over the right edge
    assert np.mean(np.abs(pixels.astype(int) - background) > 60) > 0.01  # there is ink


def test_a_comparison_opens_clean(make_run, tmp_path):
    found = [runs.read(make_run("a")), runs.read(make_run("b", shift=0.5, config="seed: 1\n"))]
    page = report.write_comparison(report.compare(found), tmp_path / "compare.html")
    document, messages, log = browse(page, tmp_path, "--dump-dom")
    assert re.findall(r"<h2>(.*?)</h2>", document)[:3] == ["Runs", "Results", "Curves"]
    assert document.count("<svg") == 2
    assert "CONSOLE" not in messages
    assert requests(log) == []
