"""Progress of long work: a bar on a terminal, one plain line an interval elsewhere; on stderr."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

_PLAIN_INTERVAL = 10.0  # seconds


def summary(metrics: Mapping[str, Any]) -> str:
    """Metrics on one line, averaged over seeds."""
    return "  ".join(f"{name} {float(np.mean(np.asarray(value))):.5g}" for name, value in metrics.items())


class Progress:
    """What a run tells while it works; this one keeps silent."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, step: int) -> None:
        """So many steps are done."""

    def log(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """The metrics of a split, one value a seed."""

    def say(self, text: str) -> None:
        """A message."""


class _Clock:
    """The rate of the steps after the first ones, whose time is mostly that of compiling."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def rate(self, step: int) -> float | None:
        """Steps a second at a step; None where there is only one point to tell it from."""
        now = time.monotonic()
        if self._first is None:
            self._first = step, now
        done, began = self._first
        return (step - done) / (now - began) if step > done and now > began else None


class Plain(Progress):
    """One line an interval, for logs and pipes."""

    def __init__(self, total: int) -> None:
        self._total, self._clock, self._last = total, _Clock(), time.monotonic()

    def advance(self, step: int) -> None:
        """Print rate and time left, at most every ten seconds."""
        rate, now = self._clock.rate(step), time.monotonic()
        if rate is not None and now - self._last >= _PLAIN_INTERVAL:
            self._last = now
            left = (self._total - step) / rate
            print(f"step {step}/{self._total}  {rate:.1f} steps/s  {left:.0f} s left", file=sys.stderr, flush=True)

    def log(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Print evaluations; training metrics are in metrics.jsonl."""
        if split != "train":
            print(f"step {step}/{self._total}  {split}: {summary(metrics)}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a message."""
        print(text, file=sys.stderr, flush=True)


class Bar(Progress):
    """A bar with rate and time left, for a terminal."""

    def __init__(self, total: int, first: int = 0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._clock = _Clock()
        self._bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("training", total=total, completed=first, metrics="", rate="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar."""
        rate = self._clock.rate(step)
        self._bar.update(self._task, completed=step, rate="" if rate is None else f"{rate:.1f} steps/s")

    def log(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Show the training metrics beside the bar and evaluations above it."""
        if split == "train":
            self._bar.update(self._task, metrics=summary(metrics))
        else:
            self._bar.console.print(f"step {step}  [bold]{split}[/bold]: {summary(metrics)}", highlight=False)

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        self._bar.console.print(text, markup=False)


def choose(total: int, first: int = 0, *, quiet: bool = False) -> Progress:
    """The progress that fits where stderr goes.

    Args:
        total: Steps in all.
        first: Steps done before.
        quiet: No progress at all.

    Returns:
        A bar on a terminal, else plain lines.
    """
    if quiet:
        return Progress()
    return Bar(total, first) if sys.stderr.isatty() else Plain(total)
