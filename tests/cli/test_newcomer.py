"""The README's path from an experiment of one's own to an archive of its run, as a newcomer would type it."""

import re
import shlex
from pathlib import Path

import pytest

from chainlab.cli.main import main

README = (Path(__file__).parents[2] / "README.md").read_text()
SHORT = ["run={steps: 4, log_every: 2}", "expect=[]", "-q"]


def typed(section):
    """The commands of a section of the README."""
    (block,) = re.findall(rf"## {section}\n.*?```console\n(.*?)```", README, re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_every_command_works_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # for the workers of the sweep
    told = {}
    for words in [*typed("Your own experiment"), *typed("A notebook that others can trust")]:
        if words[0] == "verify":
            continue  # trains every smoke config in full
        if words[:2] == ["compare", "A"]:
            words = ["compare", *sorted(map(str, Path("sweeps").glob("*/runs/mine/*")))]
        short = {"run": SHORT, "sweep": SHORT[:2], "reproduce": SHORT[2:]}.get(words[0], [])
        with pytest.raises(SystemExit) as stop:
            main([*words, *short])
        streams = capsys.readouterr()
        assert stop.value.code == 0, (words, streams.err)
        told[words[0]] = streams.out
    assert "8 seed(s)" in told["run"]
    assert told["sweep"].count("done") == 2
    assert "optimizer.learning_rate" in told["compare"]
    assert told["reproduce"].startswith("identical")
    assert Path("runs/index.html").exists()
    assert Path(told["export"].strip()).exists()
