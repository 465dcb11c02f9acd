"""`chainlab explain`."""

import json

import pytest

from chainlab.cli.main import main

MODULE = """
import jax.numpy as jnp

n = 1

def f(x, y):
    return x**2 + y**3

def g(w):
    return jnp.sum(w["a"] ** 2)
"""


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", *arguments])
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "explained_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "explained_here"


def test_function_as_text_and_json(capsys, module):
    code, text, _ = call(capsys, f"{module}:f", "--args", "[2.0, 3.0]")
    assert code == 0
    assert "adjoint 27" in text
    code, text, _ = call(capsys, f"{module}:f", "--args", "(2.0, 3.0)", "--json")
    nodes = {node["name"]: node for node in json.loads(text)["nodes"]}
    assert [nodes[name]["adjoint"]["values"] for name in "xy"] == [4.0, 27.0]


def test_a_function_of_a_file(capsys, module):
    code, text, _ = call(capsys, f"./{module}.py:f", "--args", "[2.0, 3.0]")
    assert (code, "adjoint 27" in text) == (0, True)


def test_mappings_and_lists_are_pytrees_of_arrays(capsys, module):
    code, text, _ = call(capsys, f"{module}:g", "--args", "[{'a': [1.0, 2]}]", "--json")
    assert code == 0
    assert json.loads(text)["nodes"][0]["adjoint"]["values"] == [2.0, 4.0]


def test_files(capsys, module, tmp_path):
    code, text, _ = call(
        capsys, f"{module}:f", "--args", "[2.0, 3.0]", *["--html", "a.html", "--dot", "a.dot", "--mermaid", "a.mmd"]
    )
    assert (code, text) == (0, "")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "a.dot").read_text().startswith("digraph")
    assert (tmp_path / "a.mmd").read_text().startswith("flowchart")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent_module:f", "--args", "[1.0]"], "no module 'absent_module'"),
        (["explained_here:h", "--args", "[1.0]"], "has no 'h'"),
        (["explained_here:n", "--args", "[1.0]"], "is a int, wanted a function"),
        (["explained_here:f", "--args", "__import__('os')"], "neither JSON nor a Python literal"),
        (["explained_here:f", "--args", "1.0"], "must be a list"),
        (["explained_here:f", "--args", "[[1.0, [2]], 1.0]"], "ragged"),
        (["explained_here:f", "--args", "[2, 3]"], "2.0 instead of 2"),
        (["explained_here:f", "a=1"], "takes no overrides"),
        (["absent/config"], "absent/config"),
        (["explained_here:f"], "a function needs --args"),
        (["mlp/digits", "--args", "[1.0]"], "names none"),
        (["explained_here:f", "--args", "[2.0, 3.0]", "--html", "nowhere/a.html"], "there is no folder nowhere"),
    ],
)
def test_bad_input_says_what_to_do(capsys, module, arguments, message):
    code, _, errors = call(capsys, *arguments)
    assert code == 2
    assert message in errors


@pytest.mark.slow
def test_config_is_explained_on_its_first_batch(capsys):
    code, text, errors = call(capsys, "mlp/digits", "batch_size=16", "--json")
    assert code == 0, errors
    assert any(node["name"].startswith("params[") for node in json.loads(text)["nodes"])
    assert call(capsys, "mlp/digits", "--subject", "absent")[0] == 2
