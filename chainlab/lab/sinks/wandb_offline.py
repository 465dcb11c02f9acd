"""Weights & Biases, offline unless `WANDB_MODE` says otherwise; in `wandb/` of the run folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chainlab.lab.sinks.sink import flatten


class Wandb:
    """A run of Weights & Biases; `wandb sync` uploads one that was written offline.

    Args:
        folder: The run folder; its name is the run's id, so that a resumed run goes on.
    """

    def __init__(self, folder: Path) -> None:
        import wandb

        config = folder / "config.yaml"
        self._run = wandb.init(
            project=folder.parent.name,
            id=folder.name,
            dir=folder,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),  # pyright: ignore[reportArgumentType]
            config=yaml.safe_load(config.read_text()) if config.is_file() else None,
            settings=wandb.Settings(console="off", silent=True),
        )

    def scalars(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Log one line of metrics."""
        self._run.log(flatten(split, metrics), step=step)

    def artifact(self, path: Path) -> None:
        """Keep a file with the run."""
        self._run.save(str(path), base_path=str(path.parent), policy="now")

    def close(self) -> None:
        """Write out what is pending."""
        self._run.finish()
