"""The verbs that read runs: report, compare, list, show."""

import json

import pytest

from chainlab.cli.main import main


@pytest.fixture
def chainlab(capsys, monkeypatch, tmp_path):
    """Run the command line in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


def test_report(chainlab, make_run, tmp_path):
    folder = make_run()
    code, out, _ = chainlab("report", "1a2b3c4d")
    assert code == 0
    assert (tmp_path / out.strip()).samefile(folder / "report.html")
    code, out, _ = chainlab("report", folder, "--to", "x.html", "--json")
    assert json.loads(out) == {"report": "x.html"}
    assert (tmp_path / "x.html").is_file()
    code, out, err = chainlab("report", "absent")
    assert (code, out) == (2, "")
    assert "no run of that name in runs/ (the latest: mlp/20261124-101500-1a2b3c4d)" in err


def test_show(chainlab, make_run):
    folder = make_run()
    _, out, _ = chainlab("show", "latest")
    for wanted in ("mlp/20261124-101500-1a2b3c4d: done", "<= 0.5", "met", "test/loss", "±", "git 0123abcd"):
        assert wanted in out
    _, out, _ = chainlab("show", "latest", "--json")
    assert json.loads(out)["config_hash"] == "1a2b3c4d" * 8
    _, out, _ = chainlab("show", "latest", "--config")
    assert out == (folder / "config.yaml").read_text()


def test_show_prints_brackets_as_they_are(chainlab, make_run):
    make_run(command="chainlab run x 'note=[bold]'", final={"test/[bold]": [1.0]})
    _, out, _ = chainlab("show", "latest")
    assert "chainlab run x 'note=[bold]'" in out
    assert "test/[bold]" in out


def test_list(chainlab, make_run):
    code, out, _ = chainlab("list")
    assert code == 0
    assert "none in runs/" in out
    assert "mlp" in out
    make_run("a")
    make_run("b", claims=[{"metric": "m", "goal": ">= 1", "value": 0.0, "met": False}], status="failed")
    _, out, _ = chainlab("list", "runs")
    assert "experiments" not in out
    (good,) = [line for line in out.splitlines() if line.startswith("mlp/a")]
    (bad,) = [line for line in out.splitlines() if line.startswith("mlp/b")]
    assert good.split()[1:6] == ["done", "1", "of", "1", "met"]
    assert bad.split()[1:6] == ["failed", "0", "of", "1", "met"]
    _, out, _ = chainlab("list", "--json")
    found = json.loads(out)
    assert sorted(found) == ["configs", "experiments", "runs"]
    assert [run["name"] for run in found["runs"]] == ["mlp/a", "mlp/b"]


def test_list_filters_sorts_and_exports(chainlab, make_run, tmp_path):
    make_run("a", shift=0.1)
    make_run("b", status="failed", error="[boom]")
    make_run("c", shift=0.2)
    _, out, _ = chainlab("list", "status=done", "--sort=-loss", "--columns", "loss,seeds")
    assert [line.split()[0] for line in out.splitlines() if line.startswith("mlp/")] == ["mlp/c", "mlp/a"]
    assert out.split()[1:5] == ["run", "status", "loss", "seeds"]
    _, out, _ = chainlab("list", "status=failed", "--columns", "error")
    assert "[boom]" in out
    _, out, _ = chainlab("list", "--keys")
    assert "config.experiment" in out.split()
    code, _, err = chainlab("list", "runs", "loss<0", "--to", "x.csv")
    assert (code, "0 runs" in err, (tmp_path / "x.csv").exists()) == (0, True, True)
    code, _, err = chainlab("list", "configs", "loss<0")
    assert (code, "filters are for runs" in err) == (2, True)
    _, out, _ = chainlab("list", "loss<0")
    assert "meet every filter" in out


def test_compare(chainlab, make_run, tmp_path):
    make_run("a", config="model: {width: 64}\n")
    make_run("b", config="model: {width: 128}\n", shift=0.5)
    code, out, err = chainlab("compare", "mlp/a", "mlp/b", "--html", "c.html")
    assert code == 0
    assert "model.width" in out
    assert "c.html" in err
    assert (tmp_path / "c.html").is_file()
    _, out, _ = chainlab("compare", "runs/mlp/a", "runs/mlp/b", "--json")
    found = json.loads(out)
    assert found["config"] == {"model.width": ["64", "128"]}
    means = [value["mean"] for value in found["results"]["test/loss"]]
    assert means[1] - means[0] == pytest.approx(0.5)
    code, _, err = chainlab("compare", "mlp/a")
    assert code == 2
    assert "two runs or more" in err


def test_they_need_neither_jax_nor_numpy_to_say_what_they_do(chainlab):
    for verb in ("report", "show", "list", "compare"):
        code, out, _ = chainlab(verb, "--help")
        assert code == 0
        assert "Examples:" in out


def test_a_report_over_all_runs(chainlab, make_run, tmp_path, monkeypatch):
    code, _, err = chainlab("report", ".")
    assert (code, "holds no runs" in err) == (2, True)
    make_run("a")
    make_run("b", shift=0.5)
    code, out, _ = chainlab("report", "runs")
    assert (code, out) == (0, "runs/index.html\n")
    page = (tmp_path / "runs" / "index.html").read_text()
    assert '"names":["mlp/a","mlp/b"]' in page
    code, _, err = chainlab("report", "mlp/a", "--watch")
    assert (code, "--watch is for a folder of runs" in err) == (2, True)

    looks = []

    def look(seconds):
        looks.append((tmp_path / "runs" / "index.html").stat().st_mtime_ns)
        if len(looks) == 2:
            make_run("c")
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", look)
    code, _, err = chainlab("report", "runs", "--watch")
    assert (code, "watching" in err) == (0, True)
    assert looks[0] == looks[1] < looks[2]  # written again when a run has written, and only then
    assert "mlp/c" in (tmp_path / "runs" / "index.html").read_text()
