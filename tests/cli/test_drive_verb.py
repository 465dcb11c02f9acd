"""`chainlab drive`: what it refuses, and a run trained, driven and filmed."""

import json

import jax
import pytest

from chainlab.cli.main import main


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "drive.mp4"], "wanted a file that ends in .gif"),
        (["--condition", "snow"], "no condition 'snow': there are clear, fog"),
        ([], "is a run of mlp, and drive needs one of driving"),
    ],
)
def test_mistakes_are_named(make_run, capsys, options, message):
    assert run("drive", str(make_run()), *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_a_trained_policy_drives_on_film(tmp_path, capsys):
    tiny = ["run.steps=1", "policy.dim=4", "policy.hidden=8", "batch_size=4", "states=8", "conditions=[clear]"]
    with jax.numpy_rank_promotion("allow"):
        assert run("run", "driving/smoke", *tiny, "--out", str(tmp_path), "-q", "--json") == 0
        folder = json.loads(capsys.readouterr().out)["run"]
        film = tmp_path / "drive.gif"
        options = ["--condition", "fog", "--seconds", "1", "--out", str(film), "--json"]
        assert run("drive", folder, *options) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["frames"] == 5
    assert film.read_bytes()[:6] == b"GIF89a"
    assert run("drive", folder, "--driver", "camera", "--seconds", "0.4", "--json") == 0
    assert 0 <= json.loads(capsys.readouterr().out)["driving_score"] <= 1
