"""A run from a config: folder, runner, record, panels, claims and report."""

import datetime
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from chainlab.errors import UsageError
from chainlab.lab import compilation, processes, progress, report, sinks
from chainlab.lab.claims import judge
from chainlab.lab.config import Document
from chainlab.lab.layers import layer_panels
from chainlab.lab.memory import parameter_count
from chainlab.lab.position import check_monitor
from chainlab.lab.record import Record, create_folder, peak_memory_mib, provenance
from chainlab.lab.runner import Outcome, Runner
from chainlab.lab.sharded import gather, lay_out, shard
from chainlab.lab.signals import graceful
from chainlab.lab.surroundings import keep, load_run
from chainlab.lab.task import Task
from chainlab.parallel.layout import Layout


@dataclass(frozen=True)
class Run:
    """A run that has ended, for now or for good.

    Attributes:
        folder: The run folder.
        summary: What its `run.json` holds; `status` is `done`, `stopped` or `interrupted`.
        exit_code: 0, or 128 + the signal's number.
    """

    folder: Path
    summary: Mapping[str, Any]
    exit_code: int = 0


def start(
    document: Document,
    *,
    root: Path = Path("runs"),
    until: int | None = None,
    quiet: bool = False,
    command: Sequence[str] | None = None,
) -> Run:
    """Run a config in a new folder.

    Args:
        document: The config.
        root: Where run folders are kept.
        until: Stop, with a checkpoint, after this step.
        quiet: No progress.
        command: The command to record; this process's by default.

    Returns:
        The run.

    Raises:
        ChainlabError: The run failed; its folder keeps what it did until then.
    """
    task = document.task()
    check_monitor(document.envelope.run, task.data.splits)  # what does not fit the task leaves no folder behind
    _layout(document, task)
    if processes.is_first():
        folder = create_folder(root, document.experiment.name, document.hash)
        (folder / "config.yaml").write_text(document.to_yaml())
        keep(document, folder)
    else:
        folder = Path()
    folder = Path(processes.agree_on(str(folder)))
    with processes.own_folder(folder) as own:
        record = Record(own, shared=folder)
        describe(record, document, task, command)
        return _drive(document, task, record, until=until, quiet=quiet, prepare=lambda runner: None)


def describe(
    record: Record,
    document: Document,
    task: Task,
    command: Sequence[str] | None,
    surroundings: Mapping[str, Any] | None = None,
) -> None:
    """Record what a run is before it starts: config, command, seeds, data and surroundings.

    Args:
        record: The run's record.
        document: Its config.
        task: Its task.
        command: The command to record; this process's when None.
        surroundings: What `provenance()` said, where many runs start at once.
    """
    record.update(
        status="running",
        experiment=document.experiment.name,
        config=str(document.path),
        config_hash=document.hash,
        command=shlex.join(["chainlab", *(command if command is not None else sys.argv[1:])]),
        seeds=list(document.envelope.replicas),
        note=document.envelope.note,
        tags=list(document.envelope.tags),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        steps=document.envelope.run.steps,
        data=vars(task.data.origin),
        **(surroundings or provenance()),
    )


def resume(folder: Path, *, until: int | None = None, quiet: bool = False, overrides: Sequence[str] = ()) -> Run:
    """Continue a run from its latest checkpoint, with the code that it was started with.

    Args:
        folder: The run folder.
        until: Stop, with a checkpoint, after this step.
        quiet: No progress.
        overrides: Another mesh, as `mesh.data=4` or `mesh=null`.

    Returns:
        The run.

    Raises:
        UsageError: The folder is no run, or the run is finished.
        CheckpointError: No checkpoint can be restored.
    """
    record = Record.open(folder)
    if record.summary.get("status") == "done":
        raise UsageError(f"{folder} is finished: nothing is left to resume; start a new run for another length")
    document = load_run(folder, overrides)
    task = document.task()
    with processes.own_folder(folder) as own:
        record = Record(own, record.summary, shared=folder)
        return _drive(document, task, record, until=until, quiet=quiet, prepare=Runner.restore)


def _drive(
    document: Document,
    task: Task,
    record: Record,
    *,
    until: int | None,
    quiet: bool,
    prepare: Callable[[Runner], None],
) -> Run:
    settings, seeds = document.envelope.run, document.envelope.replicas
    began = time.perf_counter()
    record.update(status="running")
    try:
        with ExitStack() as stack:
            compiled = stack.enter_context(compilation.watch())
            interruption = stack.enter_context(graceful())
            trackers = [stack.enter_context(sinks.open(name, record.folder)) for name in document.envelope.tracking]
            layout = _layout(document, task)
            on_mesh = stack.enter_context(ExitStack())
            if layout:
                on_mesh.enter_context(layout.use())
            runner = Runner(
                shard(task, layout) if layout else task,
                settings,
                seeds,
                record,
                config_hash=document.hash,
                sinks=[tracker.scalars for tracker in trackers],
                diagnose_every=document.envelope.diagnose.every if document.envelope.diagnose else None,
                layout=layout,
            )
            prepare(runner)
            runner.progress = stack.enter_context(progress.choose(settings.steps, runner.position.step, quiet=quiet))
            outcome = runner.run(until=until, interruption=interruption)
            record.update(
                status=outcome.status,
                step=outcome.position.step,
                seconds=outcome.position.seconds,
                steps_per_second=runner.rate,
                compile_seconds=compiled.seconds,
                programs=compiled.programs,
                cache_hits=compiled.cache_hits,
                peak_memory_mib=peak_memory_mib(),
                parameters=parameter_count(first(outcome, len(seeds))),
                final=outcome.position.final,
            )
            state = first(outcome, len(seeds))
            if layout:
                state = gather(state, layout)
            on_mesh.close()
            if outcome.status == "done" and processes.is_first():
                _conclude(document, task, record, state)
            record.update(
                ended=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                total_seconds=time.perf_counter() - began,
            )
    except BaseException as error:
        record.update(status="failed", error="".join(traceback.format_exception_only(error)).strip())
        raise
    if processes.is_first():
        report.write(record.folder)
    exit_code = interruption.exit_code if outcome.status == "interrupted" else 0
    return Run(record.shared or record.folder, record.summary, exit_code)


def _layout(document: Document, task: Task) -> Layout | None:
    mesh = document.envelope.mesh
    processes.check(mesh)
    return None if mesh is None else lay_out(task, mesh)


def first(outcome: Outcome, seeds: int) -> Any:
    """The task state of a run's first seed: the best one where something is monitored, else the last."""
    state = (outcome.best or outcome.replica).state
    return state if seeds == 1 else jax.tree.map(lambda leaf: leaf[0], state)


def _conclude(document: Document, task: Task, record: Record, state: Any) -> None:
    claims = judge(document.envelope.expect, record.summary)
    record.update(claims=claims)
    panels = list(layer_panels(record.folder))
    if task.panels is not None:
        panels += task.panels(state, record.folder)
    report.save_panels(panels, record.folder)
