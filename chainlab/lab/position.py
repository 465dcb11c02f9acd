"""Where a run stands beside its state, and what the host makes of the metrics that come from the device."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from chainlab.errors import UsageError
from chainlab.lab.config.envelope import RunConfig
from chainlab.lab.record import plain

Line = tuple[int, str, Mapping[str, Any]]
"""A line of metrics.jsonl: step, split and metrics."""


@dataclass
class Position:
    """Everything beside the replica that resuming needs."""

    step: int = 0
    seconds: float = 0.0
    pending: dict[str, list[Any]] = field(default_factory=dict)
    """Step metrics that are not yet in a line, by name: steps, then seeds."""
    final: dict[str, Any] = field(default_factory=dict)
    """Metrics of the run's result by `split/name`: those of the best evaluation, else of the last."""
    best: list[float] = field(default_factory=list)
    """Monitored value of the best evaluation, by seed."""
    stale: list[int] = field(default_factory=list)
    """Evaluations since the best one, by seed."""

    def train(self, rows: Mapping[str, Float[np.ndarray, "steps ..."]], settings: RunConfig) -> list[Line]:
        """Take in the metrics of the steps up to `step`.

        Args:
            rows: Metrics by name: steps, then seeds where there are several.
            settings: How often a line is written.

        Returns:
            The lines that are full: means over `log_every` steps.
        """
        count = len(next(iter(rows.values()), ()))
        first, every = self.step - count, settings.log_every
        lines: list[Line] = []
        start = 0
        while start < count:
            stop = min(count, (first + start) // every * every + every - first)
            for name, row in rows.items():
                self.pending.setdefault(name, []).extend(row[start:stop].tolist())
            step = first + stop
            if step % every == 0 or step == settings.steps:
                means = {name: np.mean(np.asarray(row), axis=0) for name, row in self.pending.items()}
                lines.append((step, "train", means))
                self.final.update({f"train/{name}": plain(value) for name, value in means.items()})
                self.pending = {}
            start = stop
        return lines

    def evaluate(
        self, found: Mapping[str, Float[np.ndarray, "..."]], settings: RunConfig
    ) -> Bool[np.ndarray, " seeds"]:
        """Take in an evaluation.

        Args:
            found: Metrics by `split/name`, one a seed where there are several.
            settings: What is monitored.

        Returns:
            The seeds for which it is the best so far, by the monitored metric; none where nothing is monitored.

        Raises:
            UsageError: The evaluation has no such metric.
        """
        monitor = settings.monitor
        if monitor is None:
            self.final |= plain(found)
            return np.zeros(1, bool)
        if monitor not in found:
            raise UsageError(f"run.monitor: no metric {monitor!r}; evaluation gives {', '.join(found)}")
        value = np.atleast_1d(found[monitor])
        sign = 1.0 if settings.mode == "max" else -1.0
        best = np.asarray(self.best or [-sign * np.inf] * len(value))
        stale = np.asarray(self.stale or [0] * len(value))
        going = stale < (settings.patience or np.inf)
        better = np.greater(sign * value, sign * best) & going
        self.best = np.where(better, value, best).tolist()
        self.stale = np.where(better, 0, np.where(going, stale + 1, stale)).tolist()
        for name, now in found.items():
            before = np.atleast_1d(self.final.get(name, now))
            kept = np.where(better, np.atleast_1d(now), before)
            self.final[name] = kept.tolist() if len(value) > 1 else float(kept[0])
        return better

    def exhausted(self, settings: RunConfig) -> bool:
        """Whether no seed's monitored metric has become better for `patience` evaluations."""
        return bool(settings.patience and self.stale and min(self.stale) >= settings.patience)


def check_monitor(settings: RunConfig, splits: Collection[str]) -> None:
    """Refuse to monitor a split that a task does not have.

    Args:
        settings: What is monitored.
        splits: The task's evaluation splits.

    Raises:
        UsageError: There is no such split.
    """
    if settings.monitor and settings.monitor.partition("/")[0] not in splits:
        raise UsageError(
            f"run.monitor: {settings.monitor!r} must be <split>/<metric> with a split of this task: "
            f"{', '.join(splits) or 'it has none'}"
        )
