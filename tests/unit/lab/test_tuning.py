"""Settings outside the program: measured, remembered, used and left out."""

import os
import platform
import subprocess
import sys

import pytest

from chainlab.errors import UsageError
from chainlab.lab import tuning
from chainlab.lab.config import load

TINY = ["model.hidden=[8]", "batch_size=8", "run.steps=20", "seeds=1"]
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")


@pytest.fixture
def document(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINLAB_CACHE", str(tmp_path))
    monkeypatch.delenv(tuning.ACTIVE, raising=False)
    return load("mlp/digits", TINY)


@pytest.fixture
def restarts(monkeypatch):
    seen = []
    monkeypatch.setattr(os, "execve", lambda path, arguments, environment: seen.append((arguments, environment)))
    return seen


def timed(monkeypatch, speeds):
    """Let every setting but the default take 1/speed seconds in each of two rounds."""

    def compare(case, contenders, **options):
        rows = {name: [{"seconds": 1 / s, "peak_mib": 1.0} for s in speeds.get(name, (1, 1))] for name in contenders}
        return rows, {}, {}

    monkeypatch.setattr("chainlab.lab.bench.compare", compare)


@glibc
def test_the_best_setting_that_pays_is_used_and_said(document, restarts, monkeypatch, capsys):
    timed(monkeypatch, {"kept heap": (1.2, 1.1), "kept heap, one arena": (1.3, 0.99)})
    best, other = tuning.tune(document)
    assert (best.setting, best.pays, other.pays) == ("kept heap", True, False)
    tuning.apply(document, ["run", "mlp/digits"])
    ((arguments, environment),) = restarts
    assert arguments[1:] == ["-m", "chainlab", "run", "mlp/digits"]
    assert environment["MALLOC_MMAP_MAX_"] == "0"
    assert environment[tuning.ACTIVE] == "kept heap"
    assert "kept heap, 1.15x here" in capsys.readouterr().err


@glibc
def test_a_setting_that_does_not_pay_is_forgotten(document, restarts, monkeypatch):
    timed(monkeypatch, {"kept heap": (1.2, 1.2)})
    tuning.tune(document)
    timed(monkeypatch, {"kept heap": (1.02, 1.02)})
    assert not any(trial.pays for trial in tuning.tune(document))
    tuning.apply(document, ["run"])
    assert not restarts


@glibc
def test_it_holds_for_other_seeds_and_not_for_other_sizes(document, monkeypatch):
    timed(monkeypatch, {"kept heap": (1.2, 1.2)})
    tuning.tune(document)
    assert tuning.remembered(load("mlp/digits", [*TINY, "seed=3", "run.steps=7"]))
    assert tuning.remembered(load("mlp/digits", [*TINY, "batch_size=16"])) is None


@glibc
@pytest.mark.parametrize("variable", [tuning.ACTIVE, "MALLOC_TOP_PAD_"])
def test_the_users_own_choice_stands(document, restarts, monkeypatch, variable):
    timed(monkeypatch, {"kept heap": (1.2, 1.2)})
    tuning.tune(document)
    monkeypatch.setenv(variable, "default")
    tuning.apply(document, ["run"])
    assert not restarts
    if variable != tuning.ACTIVE:
        with pytest.raises(UsageError, match=variable):
            tuning.tune(document)


def test_a_damaged_file_is_as_if_nothing_was_measured(document, restarts):
    (tuning.cache_folder() / "tuning.json").write_text("{")
    tuning.apply(document, ["run"])
    assert not restarts


@glibc
@pytest.mark.slow
def test_every_setting_computes_the_same_and_is_timed(document):
    trials = tuning.tune(document, rounds=2, seconds=0.05)
    assert {trial.setting for trial in trials} == set(tuning.SETTINGS)
    assert all(0.1 < trial.lowest <= trial.speed <= trial.highest < 10 for trial in trials)


@glibc
@pytest.mark.slow
def test_a_run_starts_again_under_its_setting(document, tmp_path, monkeypatch):
    timed(monkeypatch, {"kept heap": (1.2, 1.2)})
    tuning.tune(document)
    command = [sys.executable, "-m", "chainlab", "run", "mlp/digits", *TINY, "--out", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "setting: kept heap" in done.stderr
    assert '"settings": "kept heap"' in next(tmp_path.glob("mlp/*/run.json")).read_text()
