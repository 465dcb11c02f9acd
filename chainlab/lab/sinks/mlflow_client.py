"""MLflow: the server that `MLFLOW_TRACKING_URI` names, else a database in the run folder."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainlab.lab.sinks.sink import flatten


class Mlflow:
    """A run of MLflow, in an experiment of the same name.

    Args:
        folder: The run folder; `mlflow.id` in it remembers MLflow's own id, so that a resumed run goes on.
    """

    def __init__(self, folder: Path) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]
        from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

        folder = folder.absolute()
        local = f"sqlite:///{folder / 'mlflow.db'}"
        self._metric = Metric
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", local))
        marker = folder / "mlflow.id"
        if not marker.is_file():
            name = folder.parent.name
            experiment = self._client.get_experiment_by_name(name)
            location = None if "MLFLOW_TRACKING_URI" in os.environ else (folder / "mlflow").as_uri()
            number = experiment.experiment_id if experiment else self._client.create_experiment(name, location)
            marker.write_text(self._client.create_run(number, run_name=folder.name).info.run_id)
        self._id = marker.read_text()

    def scalars(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Log one line of metrics."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id, metrics=[self._metric(tag, value, now, step) for tag, value in flatten(split, metrics).items()]
        )

    def artifact(self, path: Path) -> None:
        """Keep a file with the run."""
        self._client.log_artifact(self._id, str(path))

    def close(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._id)
