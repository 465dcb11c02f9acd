import json
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.errors import UsageError
from chainlab.lab import progress, signals
from chainlab.lab.claims import judge
from chainlab.lab.config.envelope import Claim
from chainlab.lab.record import Record, create_folder, plain, provenance


def test_a_folder_is_never_taken_twice(tmp_path):
    folders = {create_folder(tmp_path, "mlp", "abcdef0123") for _ in range(5)}
    assert len(folders) == 5
    assert all(folder.parent == tmp_path / "mlp" and "-abcdef01" in folder.name for folder in folders)


def test_a_folder_that_cannot_be_is_refused_with_the_reason(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot make a run folder in .*runs: Not a directory"):
        create_folder(tmp_path / "runs", "mlp", "abcdef0123")


def test_record_is_read_back(tmp_path):
    Record(tmp_path).update(status="running", final={"loss": jnp.float32(0.5)}, seeds=[1, 2])
    record = Record.open(tmp_path)
    record.update(status="done", rates=np.array([1.0, 2.0]))
    summary = json.loads((tmp_path / "run.json").read_text())
    assert summary == {"status": "done", "final": {"loss": 0.5}, "seeds": [1, 2], "rates": [1.0, 2.0]}


@pytest.mark.parametrize("content", [None, "{torn"])
def test_what_is_no_run_is_refused(tmp_path, content):
    if content:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match="is not a run folder"):
        Record.open(tmp_path)


def test_checkpoints_latest_first_and_pruned(record):
    for step in (5, 100, 20):
        record.checkpoint(step).write_text("")
    (record.folder / "checkpoints" / ".step-000000007.ckpt.x1").write_text("torn")
    record.prune(keep=2)
    names = sorted(path.name for path in (record.folder / "checkpoints").iterdir())
    assert names == ["step-000000020.ckpt", "step-000000100.ckpt"]
    assert record.checkpoints()[0].name == "step-000000100.ckpt"


def test_provenance_is_json_and_names_what_results_depend_on():
    found = json.loads(json.dumps(provenance()))
    assert found["versions"]["jax"]
    assert found["cores"] >= 1
    assert {"backend", "devices", "xla_flags", "git"} <= set(found)


def test_plain_keeps_structure():
    assert plain({"a": {"b": np.float32(2)}, "c": [1]}) == {"a": {"b": 2.0}, "c": [1]}


def test_claims_speak_of_the_mean_over_seeds():
    claims = [
        Claim(metric="test/accuracy", at_least=0.9),
        Claim(metric="seconds", at_most=10.0),
        Claim(metric="test/none", at_least=0.0),
    ]
    met = judge(claims, {"final": {"test/accuracy": [0.8, 1.0]}, "seconds": 12.0})
    assert [row["met"] for row in met] == [True, False, False]
    assert met[0]["value"] == pytest.approx(0.9)
    assert met[0]["spread"] == pytest.approx(np.std([0.8, 1.0], ddof=1))


def test_claims_of_each_seed_are_not_met_by_the_mean_alone():
    (met,) = judge(
        [Claim(metric="test/accuracy", at_least=0.9, each_seed=True)], {"final": {"test/accuracy": [0.85, 1.0]}}
    )
    assert not met["met"]
    assert met["values"] == [0.85, 1.0]
    assert "each seed" in met["goal"]


def test_signals_ask_once_and_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with signals.graceful() as asked:
        assert not asked
        signal.raise_signal(signal.SIGTERM)
        assert asked
        assert asked.exit_code == 143
        signal.raise_signal(signal.SIGINT)
        assert asked.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_plain_progress_writes_evaluations_to_stderr(capsys):
    with progress.choose(100) as shown:
        shown.advance(10)
        shown.log(10, "train", {"loss": 1.0})
        shown.log(10, "test", {"accuracy": [0.5, 1.0]})
        shown.say("hello")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["step 10/100  test: accuracy 0.75", "hello"]


def test_compiling_is_not_taken_for_the_rate_of_the_steps(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    plain = progress.Plain(1001)
    for seconds, step in ((60.0, 1), (61.0, 101), (70.0, 1001)):  # compiled for a minute, then 100 steps a second
        now[0] = seconds
        plain.advance(step)
    assert capsys.readouterr().err == "step 101/1001  100.0 steps/s  9 s left\n"


def test_quiet_progress_writes_nothing(capsys):
    with progress.choose(100, quiet=True) as shown:
        shown.log(10, "test", {"accuracy": 1.0})
        shown.say("hello")
    assert capsys.readouterr() == ("", "")


def test_a_bar_shows_rate_and_metrics(capsys):
    with progress.Bar(100) as bar:
        bar.advance(50)
        bar.log(50, "train", {"loss": 0.25})
        bar.log(50, "test", {"accuracy": 1.0})
    assert "test: accuracy 1" in capsys.readouterr().err
