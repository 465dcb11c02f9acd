"""A tracker that follows a run: opened on its folder, told every line of metrics, given files, closed."""

import importlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from chainlab.errors import MissingDependencyError, UsageError

_SINKS = {
    "tensorboard": ("tensorboard", "Tensorboard", "tensorboardX"),
    "mlflow": ("mlflow_client", "Mlflow", "mlflow"),
    "wandb": ("wandb_offline", "Wandb", "wandb"),
}


class Sink(Protocol):
    """A tracker. `metrics.jsonl` in the run folder is always written; a sink is a copy for other tools."""

    def __init__(self, folder: Path) -> None:
        """Open the sink for a run; one that was resumed goes on where it was."""
        ...

    def scalars(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Log one line of metrics: a number each, or a list with one a seed."""
        ...

    def artifact(self, path: Path) -> None:
        """Keep a file with the run."""
        ...

    def close(self) -> None:
        """Write out what is pending."""
        ...


def flatten(split: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as one flat mapping: the mean under `split/name`, and each seed's value below it.

    Args:
        split: `train` or an evaluation split.
        metrics: A number each, or a list with one a seed.

    Returns:
        Numbers by tag.

    Example:
        >>> flatten("test", {"accuracy": [0.5, 1.0]})
        {'test/accuracy': 0.75, 'test/accuracy/seed0': 0.5, 'test/accuracy/seed1': 1.0}
    """
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            flat[f"{split}/{name}"] = fmean(value)
            flat |= {f"{split}/{name}/seed{index}": each for index, each in enumerate(value)}
        else:
            flat[f"{split}/{name}"] = value
    return flat


@contextmanager
def open(name: str, folder: Path) -> Generator[Sink]:
    """Open a sink for the time of a run; at the end it gets the run's config and record.

    Args:
        name: `tensorboard`, `mlflow` or `wandb`.
        folder: The run folder.

    Yields:
        The sink.

    Raises:
        UsageError: The name is unknown.
        MissingDependencyError: The tracker's library is not installed.
    """
    if name not in _SINKS:
        raise UsageError(f"unknown tracker {name!r}: wanted one of {', '.join(_SINKS)}")
    module, kind, library = _SINKS[name]
    try:
        sink: Sink = getattr(importlib.import_module(f"chainlab.lab.sinks.{module}"), kind)(folder)
    except ImportError as error:
        raise MissingDependencyError(library, name, f"tracking with {name}") from error
    try:
        yield sink
    finally:
        for file in (folder / "config.yaml", folder / "run.json"):
            if file.is_file():
                sink.artifact(file)
        sink.close()
