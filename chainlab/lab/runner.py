"""The runner: drives any task through its steps; it knows `Task` and nothing else."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from chainlab.errors import CheckpointError, NonFiniteError, UsageError
from chainlab.lab import checkpoint, fingerprints, nonfinite, processes
from chainlab.lab.config.envelope import RunConfig
from chainlab.lab.layers import LayerHistory
from chainlab.lab.loop import Loop, Replica, build
from chainlab.lab.position import Position, check_monitor
from chainlab.lab.progress import Progress
from chainlab.lab.record import Record, plain
from chainlab.lab.signals import Interruption
from chainlab.lab.task import Task
from chainlab.parallel.layout import Layout

_CAPACITY = 1024  # most steps of a dispatch unless the config says otherwise
_DISPATCH_SECONDS = 0.5  # a dispatch is kept about this long, so that signals and progress are prompt


@dataclass(frozen=True)
class Outcome:
    """What a run ended with.

    Attributes:
        status: `done`, `stopped` (before its last step, as asked) or `interrupted` (by a signal).
        position: Where it stands.
        replica: The last state, on the device.
        best: The state of the best evaluation, when something is monitored.
    """

    status: str
    position: Position
    replica: Replica
    best: Replica | None


class Runner:
    """One run of a task, from a fresh start or a checkpoint.

    Args:
        task: The task.
        settings: The `run:` part of a config.
        seeds: One seed, or several that train in one vmapped program.
        record: The run's folder.
        config_hash: Kept in each checkpoint; a checkpoint of another config is refused.
        progress: Told about every block, line and evaluation.
        sinks: Called with `(step, split, metrics)` for every line of metrics.jsonl.
        diagnose_every: Steps between two records of every layer's statistics; none when None.
        layout: Where the task's arrays lie on a mesh, if they do; the task is one of `shard`, and the runner is used
            inside `layout.use()`.
        build: Makes the compiled functions, from the task, the seeds and the most steps of a dispatch.
    """

    def __init__(
        self,
        task: Task,
        settings: RunConfig,
        seeds: Sequence[int],
        record: Record,
        *,
        config_hash: str = "",
        progress: Progress | None = None,
        sinks: Sequence[Callable[[int, str, Mapping[str, Any]], None]] = (),
        diagnose_every: int | None = None,
        layout: Layout | None = None,
        build: Callable[[Task, Sequence[int], int], Loop] = build,
    ) -> None:
        check_monitor(settings, task.data.splits)
        self.task, self.settings, self.record = task, settings, record
        self.config_hash, self.progress, self.sinks = config_hash, progress or Progress(), sinks
        self._periods = [p for p in (settings.eval_every, settings.checkpoint_every, diagnose_every) if p]
        limits = [settings.block or _CAPACITY, settings.steps, *self._periods]
        self.loop: Loop = build(task, seeds, min(limits))
        self.layout = layout
        whole = None if layout is None else layout.whole
        self.arrays: PyTree = jax.device_put(task.data.arrays, whole)
        self.splits = {name: jax.device_put(split, whole) for name, split in task.data.splits.items()}
        self.layers: LayerHistory | None = None
        if diagnose_every:
            self.layers = LayerHistory(task, diagnose_every, record.folder, self.arrays, len(seeds))
        self.position = Position()
        self.best: Replica | None = None
        self.replica: Replica | None = None
        self.rate: float | None = None  # steps a second of the last dispatch

    @property
    def current(self) -> Replica:
        """The replica at `position.step`, made when first asked for."""
        if self.replica is None:
            self.replica = self.loop.start()
        return self.replica

    # --- checkpoints

    def save(self) -> None:
        """Write a checkpoint of this step, then forget the older ones."""
        position = self.position
        meta = {
            "step": position.step,
            "seconds": position.seconds,
            "pending": position.pending,
            "final": position.final,
            "best": position.best,
            "stale": position.stale,
            "config_hash": self.config_hash,
            "metrics_bytes": self.record.metrics.stat().st_size if self.record.metrics.exists() else 0,
        }
        self._store(self.record.checkpoint(position.step), {"last": self.current, "best": self.best}, meta)
        self.record.prune(self.settings.keep)

    def _store(self, path: Path, tree: PyTree, meta: Mapping[str, Any]) -> None:
        checkpoint.write(path, tree, meta, on_mesh=self.layout is not None)

    def _template(self) -> Replica:
        """The shapes of a replica, and on a mesh the places of its arrays."""
        shapes = jax.eval_shape(self.loop.start)
        if self.layout is None:
            return shapes
        places = jax.jit(self.loop.start).lower().compile().output_shardings
        return jax.tree.map(lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes, places)

    def restore(self) -> None:
        """Continue from the latest checkpoint that is whole, or from the start where none was written yet.

        Raises:
            CheckpointError: Every checkpoint is damaged, or was written by another config.
        """
        damaged: list[str] = []
        for path in self.record.checkpoints():
            try:
                stored, meta = checkpoint.load(path)
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            if meta["config_hash"] != self.config_hash:
                raise CheckpointError(
                    f"{path} belongs to config {meta['config_hash'][:8]}, not to {self.config_hash[:8]}: "
                    "config.yaml was changed after the run started; start a new run instead"
                )
            template = self._template()
            has_best = any(name.startswith("['best']") for name in stored)
            trees = checkpoint.fit(stored, {"last": template, "best": template if has_best else None}, source=str(path))
            self.replica, self.best = trees["last"], trees["best"]
            names = ("step", "seconds", "pending", "final", "best", "stale")
            self.position = Position(**{name: meta[name] for name in names})
            self._truncate(meta["metrics_bytes"])
            return
        if damaged:
            raise CheckpointError("cannot resume: " + "\n".join(damaged))
        self._truncate(0)

    def _truncate(self, size: int) -> None:
        """Drop the lines that were written after the checkpoint: they will be written again."""
        for journal in [fingerprints.journal(self.record), *([self.layers.journal] if self.layers else [])]:
            journal.forget_after(self.position.step)
        with open(self.record.metrics, "ab") as file:
            file.truncate(size)

    # --- metrics

    def _write(self, rows: Sequence[tuple[int, str, Mapping[str, Any]]]) -> None:
        """Append lines of (step, split, metrics) to metrics.jsonl, and tell the sinks and the progress."""
        seconds = round(self.position.seconds, 3)
        lines = [
            json.dumps({"step": step, "split": split, "seconds": seconds, "metrics": plain(metrics)}) + "\n"
            for step, split, metrics in rows
        ]
        with open(self.record.metrics, "ab") as file:
            file.write("".join(lines).encode())
        for step, split, metrics in rows:
            for sink in self.sinks:
                sink(step, split, plain(metrics))
            self.progress.log(step, split, metrics)

    def _collect(self, metrics: Mapping[str, Any], count: int) -> None:
        """Move a dispatch's metrics to the host, check them, and write the lines that are full."""
        many = len(self.loop.seeds) > 1
        rows: dict[str, np.ndarray] = {}
        for name, value in jax.device_get(dict(metrics)).items():
            wide = np.asarray(value).astype(np.float64)
            wide = np.moveaxis(wide, 0, 1) if many else wide
            if wide.ndim != 1 + many:
                raise UsageError(f"step metric {name!r} must be a scalar, got shape {wide.shape[1 + many :]}")
            rows[name] = wide[:count]
        self._check_finite(self.position.step - count, rows)
        if lines := self.position.train(rows, self.settings):
            self._write(lines)

    def _check_finite(self, first: int, rows: Mapping[str, np.ndarray]) -> None:
        """Stop the run at a metric that is not finite, with the first step and leaf that were not."""
        index, names = nonfinite.first_row(rows)
        if index is not None:
            replica, step = self._latest()
            report = nonfinite.locate(self.loop, replica, step, first + index + 1, self.arrays, names)
            raise NonFiniteError(f"{report}\nThe run is kept in {self.record.folder}.")

    def _latest(self) -> tuple[Replica, int]:
        """The replica and step of the latest checkpoint, else of the start."""
        for path in self.record.checkpoints():
            stored, meta = checkpoint.load(path)
            last = {name: leaf for name, leaf in stored.items() if name.startswith("['last']")}
            tree = checkpoint.fit(last, {"last": self._template()}, source=str(path))
            return tree["last"], meta["step"]
        return self.loop.start(), 0

    def _evaluate(self) -> None:
        """Evaluate every split, and keep each seed's state where the monitored metric is its best."""
        found: dict[str, np.ndarray] = {}
        for name, split in self.splits.items():
            metrics = jax.device_get(dict(self.loop.evaluate(self.current, split)))
            self._write([(self.position.step, name, metrics)])
            found |= {f"{name}/{key}": np.asarray(value, np.float64) for key, value in metrics.items()}
        better = self.position.evaluate(found, self.settings)
        if np.any(better):
            self.best = _select(better, self.current, self.best)

    # --- the loop

    def _agree(self, value: int) -> int:
        """The first process's value: all processes must run the same steps."""
        return processes.agree(value, None if self.layout is None else self.layout.mesh)

    def _next_stop(self, until: int) -> int:
        """The next step at which the host has something to do."""
        step = self.position.step
        stops = [step // period * period + period for period in self._periods]
        return min([until, fingerprints.next_mark(step), *stops])

    def _dispatch(self, until: int) -> int:
        """How many steps to run next: up to the next stop, for about half a second."""
        count = min(self.loop.capacity, self._next_stop(until) - self.position.step)
        budget = 1 if self.rate is None else max(1, int(self.rate * _DISPATCH_SECONDS))
        return self._agree(min(count, budget))

    def run(self, *, until: int | None = None, interruption: Interruption | None = None) -> Outcome:
        """Run to the last step, to step `until`, or to an interruption; always end with a checkpoint.

        Args:
            until: Stop after this step even if the run is longer.
            interruption: Looked at after every dispatch.

        Returns:
            How it ended.

        Raises:
            NonFiniteError: A step gave a value that is not finite; names the first such step and leaf.
        """
        settings, position = self.settings, self.position
        until = min(until or settings.steps, settings.steps)
        began = time.perf_counter() - position.seconds
        status, compiled = "stopped", False
        while position.step < until and not position.exhausted(settings):
            count = self._dispatch(until)
            started = time.perf_counter()
            self.replica, metrics = self.loop.steps(self.current, position.step, count, self.arrays)
            metrics = jax.block_until_ready(metrics)
            ended = time.perf_counter()
            position.step += count
            position.seconds = ended - began
            self._collect(metrics, count)
            if compiled:
                self.rate = count / (ended - started)
            compiled = True
            self.progress.advance(position.step)
            every = settings.eval_every
            if position.step == settings.steps or (every and position.step % every == 0):
                self._evaluate()
            if fingerprints.is_mark(position.step) or position.step == settings.steps:
                fingerprints.journal(self.record).append([fingerprints.take(position.step, self.current.state)])
            if self.layers is not None and position.step % self.layers.every == 0:
                self.layers.observe(position.step, self.current)
            if self._agree(int(bool(interruption))):
                status = "interrupted"
                break
            every = settings.checkpoint_every
            if every and position.step % every == 0 and position.step < until:
                self.save()
        if position.step == settings.steps or position.exhausted(settings):
            status = "done"
        position.seconds = time.perf_counter() - began
        self.save()
        if self.best is not None:
            self._store(self.record.best, {"best": self.best}, {"step": position.step, "final": position.final})
        return Outcome(status, position, self.current, self.best)


def _select(better: np.ndarray, new: PyTree, old: PyTree | None) -> PyTree:
    """A copy of the new state, seed by seed where it is better than the old one."""
    if old is None or len(better) == 1:
        return jax.tree.map(jnp.copy, new)

    def choose(new: Any, old: Any) -> Any:
        return jnp.where(jnp.asarray(better).reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.jit(lambda new, old: jax.tree.map(choose, new, old))(new, old)
