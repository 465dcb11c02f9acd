"""`chainlab check`: exit codes, JSON, files, errors."""

import json

import pytest
from click.testing import CliRunner

from chainlab.cli.check import command

SOURCE = """
import jax
import jax.numpy as jnp

def right(x, y):
    return x**2 + y**3

@jax.custom_vjp
def cube(x):
    return jnp.sum(x**3)

cube.defvjp(lambda x: (cube(x), x), lambda x, ct: (ct * x**2,))

def wrong(x):
    return cube(x)
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    (tmp_path / "rules.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(command, list(arguments), standalone_mode=False)

    return run


def test_a_right_derivative_exits_with_0(call):
    result = call("./rules.py:right", "--args", "[2.0, 3.0]")
    assert result.return_value == 0
    assert "the derivative is right" in result.output


def test_a_wrong_derivative_exits_with_1_and_is_named_in_json(call):
    result = call("./rules.py:wrong", "--args", "[[1.0, 2.0]]", "--json")
    assert result.return_value == 1
    report = json.loads(result.output)["./rules.py:wrong"]
    assert [(f["kind"], f["leaf"]) for f in report["findings"]] == [("missing factor", "x")] * 2


@pytest.mark.slow
def test_a_config_is_checked_at_its_objective(call):
    result = call("mlp/digits")
    assert result.exception is None, result.exception
    assert result.return_value == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("./rules.py:right",), "--args"),
        (("./none.py:f", "--args", "[1.0]"), "no file"),
        (("./rules.py:nothing", "--args", "[1.0]"), "has no 'nothing'; it has right, cube, wrong"),
        (("./rules.py:right", "--args", "2.0"), "list"),
        (("./rules.py:right", "--args", "[2.0,"), "JSON"),
    ],
)
def test_bad_arguments_are_told_what_to_do(call, arguments, words):
    assert words in str(call(*arguments).exception)
