import pytest

from chainlab.errors import ConfigError
from chainlab.lab.config import load

EXPERIMENT = '''
from __future__ import annotations

from typing import Annotated, Literal

import chainlab
from annotated_types import Ge, Gt


@chainlab.config
class Dense:
    """A dense network."""

    kind: Literal["dense"] = "dense"
    width: Annotated[int, Gt(0)] = 8
    """Features of each layer."""
    depth: int = 2
    """Layers."""


@chainlab.config
class Convolution:
    kind: Literal["convolution"] = "convolution"
    channels: int = 4


@chainlab.config
class Optimizer:
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Step size."""


@chainlab.config
class MineConfig:
    """What mine can be told."""

    model: Dense | Convolution = Dense(width=32)
    """The network."""
    optimizer: Optimizer = Optimizer()
    size: int | Literal["all"] | None = None
    """Examples, or all of them."""
    flag: bool = False
    names: tuple[str, ...] = ()
    text: str = ""
    other: Dense | None = None


@chainlab.experiment
def mine(config: MineConfig) -> chainlab.Task:
    """Learn something."""
    return config
'''


class Folder:
    """A folder with an experiment in `mine.py`."""

    def __init__(self, path):
        self.path = path
        (path / "mine.py").write_text(EXPERIMENT)

    def write(self, text, name="a.yaml"):
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def load(self, text, *overrides, deep=False):
        return load(self.write(text), overrides, deep=deep)

    def problems(self, text, *overrides, deep=False):
        with pytest.raises(ConfigError) as caught:
            self.load(text, *overrides, deep=deep)
        assert caught.value.exit_code == 2
        return caught.value.problems


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)
