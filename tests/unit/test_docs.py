"""The pages' snippets, run as they are printed."""

import doctest
import re
import shlex
from pathlib import Path

import click
import jax
import pytest

from chainlab.cli.group import cli

ROOT = Path(__file__).parents[2]
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [path for path in WRITTEN if ">>> " in path.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_print_what_they_say(page):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed


def commands(text):
    """The `chainlab` commands that a page shows in its console blocks, without comments and outputs."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line.removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                if words[:1] == ["chainlab"]:
                    yield words[1:]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_commands_are_ones_that_there_are(page):
    for verb, *arguments in commands(page.read_text()):
        if not verb.startswith("-") and not verb.isupper():
            command = cli.get_command(click.Context(cli), verb)
            assert command is not None, verb
            if not set(arguments) & {"-h", "--help"}:
                command.make_context(verb, list(arguments))  # raises where an option or argument is wrong


def test_the_readme_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 20
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, "README.md", "exec"), {})


def test_the_reference_has_every_public_name():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    missing = set()
    for stub in (ROOT / "chainlab").rglob("__init__.pyi"):
        package = ".".join(stub.parent.relative_to(ROOT).parts)
        for module, name in re.findall(r"^from (\.\w\S*) import (\w+)", stub.read_text(), re.MULTILINE):
            whole = package + module
            if not shown & {whole, f"{whole}.{name}"}:
                missing.add(f"{whole}.{name}")
    assert not missing, "add the modules to docs/reference"
