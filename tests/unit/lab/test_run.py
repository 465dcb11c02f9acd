"""A run from its config to its report, in this process."""

import json

import numpy as np
import pytest

from chainlab.cli.main import main
from chainlab.cli.training import launch
from chainlab.errors import CheckpointError, UsageError
from chainlab.interop import load_tensors
from chainlab.lab import checkpoint
from chainlab.lab.config import load
from chainlab.lab.record import Record
from chainlab.lab.reproduce import reproduce
from chainlab.lab.run import Run, resume, start

pytestmark = pytest.mark.usefixtures("standard_promotion")
OVERRIDES = [
    "seeds=2",
    "run={steps: 24, log_every: 8, eval_every: 12, monitor: validation/accuracy}",
    "model={hidden: [8]}",
    "optimizer={name: adam, learning_rate: 3e-3}",
    "expect=[{metric: test/accuracy, at_least: 0.05}, {metric: test/loss, at_most: 0.0}]",
]


def command(capsys, *arguments):
    """Run the command line in this process: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code, *capsys.readouterr()


@pytest.fixture(scope="module")
def run(tmp_path_factory, standard_promotion):
    return start(load("mlp/digits", OVERRIDES), root=tmp_path_factory.mktemp("runs"), quiet=True)


def test_the_folder_holds_everything(run):
    names = {path.name for path in run.folder.iterdir()}
    wanted = {"config.yaml", "run.json", "metrics.jsonl", "checkpoints", "report.html", "fingerprints.jsonl"}
    assert wanted <= names
    summary = json.loads((run.folder / "run.json").read_text())
    assert summary == dict(run.summary)
    assert (summary["status"], summary["step"], summary["seeds"]) == ("done", 24, [0, 1])
    assert summary["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert len(summary["final"]["test/accuracy"]) == 2
    assert summary["data"]["name"] == "digits"
    assert [claim["met"] for claim in summary["claims"]] == [True, False]
    assert "Test set by class" in (run.folder / "report.html").read_text()
    assert load(run.folder / "config.yaml").hash == summary["config_hash"]


def test_a_monitor_of_no_split_leaves_no_folder_behind(tmp_path):
    with pytest.raises(UsageError, match="with a split of this task: validation, test"):
        start(load("mlp/digits", ["run={steps: 4, monitor: nowhere/accuracy}"]), root=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_claims_are_shown_with_their_metric_or_told_to_have_none(tmp_path, capsys):
    claims = [
        {"metric": "test/accuracy", "goal": ">= 0.5", "met": True},
        {"metric": "test/accuracy", "goal": ">= 0.9, each seed", "met": False},
        {"metric": "test/acuracy", "goal": ">= 0.5", "met": False},
    ]
    summary = {"experiment": "mlp", "status": "done", "seeds": [0], "final": {"test/accuracy": 0.8}, "claims": claims}
    assert launch(lambda: Run(tmp_path, summary), as_json=False) == 0
    out, err = capsys.readouterr()
    assert ">= 0.5, >= 0.9, each seed" in out
    assert "NO" in out
    assert err == "claimed, but not measured: test/acuracy; the run gives test/accuracy\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--together", "--workers", "2"], "--workers: --together trains all jobs in one program"),
        (["--cluster-option", "a=b"], "--cluster-option a=b: wanted --cluster too"),
    ],
)
def test_a_sweep_refuses_options_that_would_do_nothing(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = command(capsys, "sweep", "mlp/digits", "--sweep", "batch_size=64,128", *options)
    assert (code, message in err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_stopped_and_resumed_equals_the_whole(run, tmp_path):
    stopped = start(load("mlp/digits", OVERRIDES), root=tmp_path, quiet=True, until=9)
    assert stopped.summary["status"] == "stopped"
    resumed = resume(stopped.folder, quiet=True)
    assert resumed.summary["status"] == "done"
    assert resumed.summary["final"] == run.summary["final"]
    for name in ("fingerprints.jsonl",):
        assert (resumed.folder / name).read_text() == (run.folder / name).read_text()
    hashes = [checkpoint.fingerprint(checkpoint.load(Record(r.folder).checkpoints()[0])[0]) for r in (run, resumed)]
    assert hashes[0] == hashes[1]


def test_a_finished_run_is_not_resumed(run):
    with pytest.raises(UsageError, match="is finished"):
        resume(run.folder, quiet=True)


@pytest.mark.slow
def test_reproduce_names_the_first_step_and_leaf(run, tmp_path):
    found = reproduce(run.folder, quiet=True)
    assert found.identical
    assert found.compared >= 10
    journal = run.folder / "fingerprints.jsonl"
    text = journal.read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    rows[2]["leaves"][".params['dense1']['bias']"] = "00000000"
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        found = reproduce(run.folder, quiet=True)
    finally:
        journal.write_text(text)
    assert not found.identical
    assert found.first == "step 4 (equal up to step 2): state.params['dense1']['bias']"


def test_export_writes_what_was_trained(run, tmp_path, capsys):
    code, out, _ = command(capsys, "export", run.folder, "--to", tmp_path / "m.safetensors", "--seed", 1)
    assert (code, out.strip()) == (0, str(tmp_path / "m.safetensors"))
    stored = load_tensors(tmp_path / "m.safetensors")
    leaves, _ = checkpoint.load(Record(run.folder).best)
    weight = leaves["['best'].state.params['dense0']['weight']"][1]
    np.testing.assert_array_equal(stored["dense0.weight"], weight)
    code, _, err = command(capsys, "export", run.folder, "--format", "safetensors", "--seed", 7)
    assert code == 2
    assert "has no seed 7: it trained 0, 1" in err


def test_verify_exits_with_3_when_a_claim_is_not_met(tmp_path, capsys, monkeypatch):
    text = load("mlp/digits", [*OVERRIDES, "run.steps=2", "run.eval_every=2"]).to_yaml()
    (tmp_path / "claims.yaml").write_text(text)
    code, out, _ = command(capsys, "verify", tmp_path / "claims.yaml", "--out", tmp_path / "runs", "-q", "--json")
    assert code == 3
    result = json.loads(out)
    assert [claim["metric"] for claim in result["claims"]] == ["test/accuracy", "test/loss"]
    assert result["claims"][1]["met"] is False
    assert result["claims"][1]["seeds"] == [0, 1]


def test_a_bad_config_leaves_nothing_behind(tmp_path, capsys):
    code, _, err = command(capsys, "run", "mlp/digits", "model.hiden=[3]", "--out", tmp_path / "runs")
    assert code == 2
    assert "hiden" in err
    assert "hidden" in err
    assert not (tmp_path / "runs").exists()


def test_dry_run_computes_and_writes_nothing(tmp_path, capsys):
    code, out, _ = command(capsys, "run", "mlp/digits", "--dry-run", "--json", "--out", tmp_path / "runs")
    assert code == 0
    sizes = json.loads(out)["sizes"]
    assert sizes["parameters"] == 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert sizes["state_mib"] == pytest.approx(3 * 3 * 4 * sizes["parameters"] / 2**20, rel=1e-3)
    assert not (tmp_path / "runs").exists()


def test_a_failed_run_says_so_in_its_record(tmp_path, capsys):
    diverge = ["optimizer={name: sgd, learning_rate: 1e30}", "run={steps: 40, log_every: 10}", "model={hidden: [8]}"]
    code, _, err = command(capsys, "run", "mlp/digits", *diverge, "--seeds", 1, "-q", "--out", tmp_path)
    assert code == 1
    assert "not finite" in err
    assert "state.params['dense" in err
    (folder,) = tmp_path.glob("mlp/*")
    summary = json.loads((folder / "run.json").read_text())
    assert summary["status"] == "failed"
    assert "not finite" in summary["error"]


def test_checkpoints_of_another_config_are_refused(tmp_path):
    stopped = start(load("mlp/digits", OVERRIDES), root=tmp_path, quiet=True, until=3)
    config = stopped.folder / "config.yaml"
    config.write_text(config.read_text().replace("0.003", "0.004"))
    with pytest.raises(CheckpointError, match=r"config\.yaml was changed after the run started"):
        resume(stopped.folder, quiet=True)
