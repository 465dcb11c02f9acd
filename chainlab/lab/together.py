"""Jobs that differ in numbers alone, trained in one compile: the numbers are arguments of the program."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel

from chainlab.errors import UsageError
from chainlab.lab.compilation import use_cache
from chainlab.lab.config import Document, load
from chainlab.lab.jobs import Job
from chainlab.lab.journal import Journal
from chainlab.lab.loop import Loop, Replica, replica, run_steps
from chainlab.lab.record import Record, create_folder, provenance
from chainlab.lab.run import describe
from chainlab.lab.runner import Runner
from chainlab.lab.surroundings import keep
from chainlab.lab.sweep import Result, results
from chainlab.lab.task import Task


def with_value(config: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of a config with one value replaced, unchecked, so that the value may be traced.

    Args:
        config: A config.
        path: Names of fields, from the outside in.
        value: What to put there.

    Returns:
        The copy.
    """
    name, *inner = path
    if isinstance(config, BaseModel):
        now = getattr(config, name, None)
        return config.model_copy(update={name: with_value(now, inner, value) if inner else value})
    now = getattr(config, name)
    return dataclasses.replace(config, **{name: with_value(now, inner, value) if inner else value})


def _loop(document: Document, keys: Sequence[str], seeds: np.ndarray, values: np.ndarray, capacity: int) -> Loop:
    """A loop whose replicas differ in seed and in swept values; both have an axis of replicas."""

    def task_of(row: Any) -> Task:
        config = document.config
        for index, key in enumerate(keys):
            config = with_value(config, key.split("."), row[index])
        return document.function(config)

    def start(seed: Any, row: Any) -> Replica:
        return replica(task_of(row), seed)

    def steps(current: Replica, row: Any, first: Any, count: Any, arrays: Any) -> Any:
        return run_steps(task_of(row), capacity, current, first, count, arrays)

    def evaluate(current: Replica, row: Any, split: Any) -> Any:
        return task_of(row).evaluate(current.state, split)

    rows = jnp.asarray(values, jnp.float32)
    compiled_start = jax.jit(jax.vmap(start))
    compiled_steps = jax.jit(jax.vmap(steps, (0, 0, None, None, None)), donate_argnums=0)
    compiled_evaluate = jax.jit(jax.vmap(evaluate, (0, 0, None)))
    return Loop(
        start=lambda: compiled_start(jnp.asarray(seeds), rows),
        steps=lambda current, first, count, arrays: compiled_steps(
            current, rows, np.int32(first), np.int32(count), arrays
        ),
        evaluate=lambda current, split: compiled_evaluate(current, rows, split),
        capacity=capacity,
        seeds=tuple(range(len(seeds))),
    )


def train_together(document: Document, folder: Path, wanted: Sequence[Job]) -> list[Result]:
    """Train every job of a sweep in one vmapped program, and write a run folder for each.

    The jobs that are done already are left as they are; the others start afresh. Their folders hold no
    checkpoints (a job whose parameters are needed is run by itself) and no report until `chainlab report`.

    Args:
        document: The config.
        folder: The sweep's folder.
        wanted: The jobs; their values must be numbers of the experiment's config.

    Returns:
        A result a job.

    Raises:
        UsageError: A swept value is not a number, or the experiment decides something by it in Python.
    """
    missing = [result.job for result in results(folder, wanted) if result.status != "done"]
    if missing:
        use_cache()
        _train(document, folder, missing)
    return results(folder, wanted)


def _train(document: Document, folder: Path, missing: Sequence[Job]) -> None:
    keys = list(missing[0].values)
    documents = [load(document.path, job.overrides, deep=index == 0) for index, job in enumerate(missing)]
    for key in keys:
        value = _at(documents[0].values, key)
        if not isinstance(value, float) or key.split(".")[0] == "run":
            raise UsageError(f"--together: {key}={value!r} is not a real number of the experiment; sweep without it")
    seeds = document.envelope.replicas
    pairs = [(job, seed) for job in missing for seed in seeds]
    values = np.asarray([[job.values[key] for key in keys] for job, _ in pairs], np.float64)
    work = Record(create_folder(folder / "together", document.experiment.name, document.hash))

    def build(task: Task, _: Sequence[int], capacity: int) -> Loop:
        del task
        return _loop(document, keys, np.asarray([seed for _, seed in pairs]), values, capacity)

    settings, task, surroundings = documents[0].envelope.run, documents[0].task(), provenance()
    runner = Runner(task, settings, range(len(pairs)), work, build=build)
    try:
        outcome = runner.run()
    except jax.errors.ConcretizationTypeError as error:
        raise UsageError(
            f"--together: {document.experiment.name} decides something in Python by {', '.join(keys)}; sweep without it"
        ) from error
    lines = Journal(work.metrics).rows()
    for index, (job, own) in enumerate(zip(missing, documents, strict=True)):
        part = slice(index * len(seeds), (index + 1) * len(seeds))
        record = Record(create_folder(folder / "runs", own.experiment.name, own.hash))
        (record.folder / "config.yaml").write_text(own.to_yaml())
        Journal(record.metrics).append(_part(line, part) for line in lines)
        command = ["sweep", str(document.path), *job.overrides, "--together"]
        keep(own, record.folder)
        describe(record, own, task, command, surroundings)
        final = {name: _values(value, part) for name, value in outcome.position.final.items()}
        seconds = outcome.position.seconds
        record.update(status="done", step=outcome.position.step, seconds=seconds, final=final, together=len(missing))


def _at(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


def _part(line: Mapping[str, Any], part: slice) -> dict[str, Any]:
    return {**line, "metrics": {name: _values(value, part) for name, value in line["metrics"].items()}}


def _values(value: Any, part: slice) -> Any:
    """The part of a list of replicas that a job has; a number where it has one seed."""
    if not isinstance(value, list):
        return value
    mine = value[part]
    return mine if len(mine) > 1 else mine[0]
