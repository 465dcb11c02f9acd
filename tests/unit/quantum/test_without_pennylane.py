"""Without PennyLane: what needs it says what to install, and nothing else needs it."""

import subprocess
import sys

import pytest

BLOCKED = "import sys; sys.modules['pennylane'] = None\n"


def run(code):
    """Run code in an interpreter in which PennyLane cannot be imported."""
    return subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_circuit_says_what_to_install_and_its_classical_twin_works():
    done = run(
        "import jax\n"
        "from chainlab import errors, quantum\n"
        "twin = quantum.equal_mlp(4, 2, quantum.dressed(4, 2))\n"
        "assert twin.apply(twin.init(jax.random.key(0)), jax.numpy.ones((3, 4))).shape == (3, 2)\n"
        "try:\n"
        "    quantum.expectation(lambda x: x)(0.5)\n"
        "except errors.MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    assert done.stdout == "chainlab.quantum needs PennyLane: pip install 'chainlab[quantum]'\n", done.stderr


@pytest.mark.slow
def test_the_command_line_runs_everything_else_and_validates_circuits(tmp_path):
    main = f"import os; os.chdir({str(tmp_path)!r})\nfrom chainlab.cli.main import main\n"
    done = run(main + "main(['run', 'mlp/digits', 'run.steps=5', 'seeds=1', 'expect=[]'])")
    assert done.returncode == 0, done.stderr
    done = run(main + "main(['validate', 'quantum/digits'])")
    assert done.returncode == 0, done.stderr
    done = run(main + "main(['run', 'quantum/digits', 'run.steps=2', 'seeds=1', 'expect=[]'])")
    assert done.returncode == 1
    assert "pip install 'chainlab[quantum]'" in done.stderr
