"""`chainlab new`: what it writes runs at once."""

import jax
import pytest

from chainlab.cli.main import main
from chainlab.lab.config import load


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_it_trains(folder, capsys):
    assert run("new", "my_digits") == 0
    assert capsys.readouterr().out == "my_digits.py\nmy_digits.yaml\n"
    document = load("my_digits.yaml")
    task = document.task()

    test = jax.device_put(task.data.splits["test"])

    @jax.jit
    def train(key):
        def step(state, position):
            batch = task.data.gather(task.data.arrays, task.data.plan(key, position))
            return task.step(state, batch, jax.random.fold_in(key, position))

        state, metrics = jax.lax.scan(step, task.init(key), jax.numpy.arange(document.envelope.run.steps))
        return metrics["loss"], task.evaluate(state, test)

    with jax.numpy_dtype_promotion("standard"):
        losses, final = train(jax.random.key(0))
    assert losses[-1] < losses[0] / 5
    (claim,) = document.envelope.expect
    assert claim.metric == "test/accuracy"
    assert claim.met([float(final["accuracy"])])


def test_its_config_is_valid_in_every_form(capsys):
    assert run("new", "mine") == 0
    assert run("validate", "mine.yaml") == 0
    capsys.readouterr()
    assert run("config", "./mine.py") == 0
    with open("full.yaml", "w") as stream:
        stream.write(capsys.readouterr().out)
    assert load("full.yaml").config == load("mine.yaml").config
    assert run("schema", "./mine.py") == 0
    assert "Features of each hidden layer." in capsys.readouterr().out


def test_nothing_is_overwritten(folder, capsys):
    (folder / "mine.yaml").write_text("mine")
    assert run("new", "mine") == 2
    assert "mine.yaml exists already; nothing was written" in capsys.readouterr().err
    assert (folder / "mine.yaml").read_text() == "mine"
    assert not (folder / "mine.py").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("my-exp", "such as 'my_exp'"), ("class", "cannot name"), ("nowhere/mine", "no folder nowhere")]
)
def test_names_that_cannot_be(name, words, folder, capsys):
    assert run("new", name) == 2
    assert words in capsys.readouterr().err
    assert list(folder.iterdir()) == []
