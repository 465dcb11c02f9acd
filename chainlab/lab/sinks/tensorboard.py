"""TensorBoard event files, in `tensorboard/` of the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainlab.lab.sinks.sink import flatten


class Tensorboard:
    """Event files that `tensorboard --logdir runs` reads.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Log one line of metrics."""
        for tag, value in flatten(split, metrics).items():
            self._writer.add_scalar(tag, value, step)

    def artifact(self, path: Path) -> None:
        """Show a text file in the dashboard's text tab."""
        self._writer.add_text(path.name, f"```\n{path.read_text()}\n```")

    def close(self) -> None:
        """Write out what is pending."""
        self._writer.close()
