"""The frame of the command line: start, exit codes, streams."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import chainlab
from chainlab.cli import verbs
from chainlab.cli.main import main
from chainlab.errors import ClaimError

ROOT = Path(chainlab.__file__).parents[1]
HEAVY = ("jax", "numpy", "pydantic", "rich", "yaml", "click", "optax", "flax", "sklearn")


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


def python(*arguments):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib\n"
        "from chainlab.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        f"print('imported:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python("-c", code).splitlines()[-1] == "imported: []"


def test_help_costs_at_most_eight_bare_interpreters():
    def seconds(*arguments):
        start = time.perf_counter()
        python(*arguments)
        return time.perf_counter() - start

    bare, full = ("-c", "pass"), ("-m", "chainlab", "--help")
    seconds(*full)  # compiles and caches bytecode
    pairs = [(seconds(*bare), seconds(*full)) for _ in range(9)]
    ratio = statistics.median(second for _, second in pairs) / statistics.median(first for first, _ in pairs)
    assert ratio <= 8, f"chainlab --help costs {ratio:.1f}x a bare interpreter"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_verbs_that_are_there(flag, capsys):
    assert run(flag) == 0
    text = capsys.readouterr().out
    for verb in ("validate", "schema", "config", "new", "completion", "doctor"):
        assert f"\n  {verb} " in text


def test_a_verb_without_a_module_is_not_listed(monkeypatch, capsys):
    monkeypatch.setitem(verbs.VERBS["Runs"], "levitate", "Rise.")
    assert run("--help") == 0
    assert "levitate" not in capsys.readouterr().out
    assert run("levitate") == 2


def test_every_verb_loads_and_has_help(capsys):
    for verb in verbs.available():
        assert run(verb, "--help") == 0, verb
        text = capsys.readouterr().out
        assert "Usage: chainlab" in text
        assert "Examples:" in text, verb
        assert "--verbose" in text


def test_every_module_of_a_verb_is_in_the_table():
    files = Path(verbs.__file__).parent.glob("*.py")
    modules = {path.stem for path in files if "\ndef command(" in path.read_text()}
    assert modules == set(verbs.available())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Usage: chainlab VERB"),
        (("valdate", "x"), "no verb 'valdate', did you mean 'validate'?"),
        (("qqq",), "no verb 'qqq'; `chainlab --help` lists them"),
        (("validate",), "Missing argument"),
        (("validate", "--nonsense"), "No such option"),
        (("validate", "a.b=1"), "wanted a config before the overrides"),
        (("validate", "nowhere/at_all"), "no such file and no packaged config of that name"),
        (("completion", "tcsh"), "tcsh"),
        (("config", "nothing_such"), "no experiment 'nothing_such'"),
        (("schema", "nothing_such"), "no experiment 'nothing_such'"),
        (("verify",), "wanted a config, or --tag"),
        (("verify", "--tag", "levitation"), "no packaged config has the tag 'levitation'"),
        (("sweep", "mlp/digits", "--sweep", "batch_size"), "wanted KEY=VALUE"),
        (("sweep", "mlp/digits", "--sweep", "batch_size=uniform(2)"), "sweep.batch_size"),
    ],
)
def test_usage_errors_exit_with_2_on_stderr(arguments, words, capsys):
    assert run(*arguments) == 2
    streams = capsys.readouterr()
    assert words in streams.err
    assert streams.out == ""
    assert "Traceback" not in streams.err


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"chainlab {chainlab.__version__}\n"


@pytest.fixture
def verb(monkeypatch):
    """Replace what `validate` does."""
    from chainlab.cli import validate

    def replace(body):
        monkeypatch.setattr(validate.command, "callback", lambda **arguments: body())

    return replace


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code"), [(ClaimError("0.9 < 0.95"), 3), (KeyboardInterrupt(), 130), (ZeroDivisionError("boom"), 1)]
)
def test_exit_codes_of_errors(verb, error, code, capsys):
    verb(lambda: fail(error))
    assert run("validate", "x") == code
    assert capsys.readouterr().out == ""


def test_a_verb_may_choose_its_code(verb):
    verb(lambda: 143)
    assert run("validate", "x") == 143


def test_traceback_only_when_asked(verb, capsys):
    verb(lambda: fail(ClaimError("0.9 < 0.95")))
    run("validate", "x")
    assert capsys.readouterr().err == "error: 0.9 < 0.95\n"
    run("validate", "x", "-v")
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_error_shows_its_traceback(verb, capsys):
    verb(lambda: fail(ZeroDivisionError("boom")))
    run("validate", "x")
    assert "ZeroDivisionError: boom" in capsys.readouterr().err


def test_json_errors(tmp_path, capsys):
    config = tmp_path / "a.yaml"
    config.write_text("a: 1\na: 2\n")
    assert run("validate", str(config), "--json") == 2
    streams = capsys.readouterr()
    answer = json.loads(streams.out)
    assert answer["error"] == "ConfigError"
    assert answer["problems"] == streams.err.splitlines()[:-1]
    assert f"{config}:2:1: duplicate key 'a', first at line 1" in answer["problems"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell, capsys):
    assert run("completion", shell) == 0
    assert "_CHAINLAB_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("chainlab val", "plain,validate"),
        ("chainlab config ml", "plain,mlp"),
        ("chainlab validate --de", "plain,--deep"),
    ],
)
def test_completion_answers(words, wanted, monkeypatch, capsys):
    monkeypatch.setenv("_CHAINLAB_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert run() == 0
    assert wanted in capsys.readouterr().out.splitlines()


def test_doctor(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHAINLAB_DATA", str(tmp_path))
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte").touch()
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["chainlab"] == chainlab.__version__
    assert found["machine"]["backend"] == "cpu"
    assert found["data"]["digits"] == "bundled with scikit-learn"
    assert found["data"]["kmnist"] == str(tmp_path)
    monkeypatch.delenv("CHAINLAB_DATA")
    assert run("doctor") == 0
    assert "put the four IDX files" in capsys.readouterr().out
