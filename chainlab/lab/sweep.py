"""Sweeps: every combination of a config's `sweep:`, each job once, whatever is killed on the way."""

import concurrent.futures
import itertools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainlab.errors import ChainlabError, UsageError
from chainlab.lab.config import Document, load
from chainlab.lab.runs import RunFolder, everything


@dataclass(frozen=True)
class Job:
    """One combination of a sweep.

    Attributes:
        values: The swept values by dotted key.
        overrides: The same as overrides of the config.
        hash: The config hash of the combination; the job's identity.
    """

    values: dict[str, Any]
    overrides: tuple[str, ...]
    hash: str


@dataclass(frozen=True)
class Result:
    """How a job stands.

    Attributes:
        job: The job.
        status: `done`, `failed`, or `pending` when it has not ended.
        run: Its run, where there is one.
    """

    job: Job
    status: str
    run: RunFolder | None

    @property
    def error(self) -> str:
        """Why it failed."""
        return str(self.run.summary.get("error", "")) if self.run else ""


def jobs(document: Document, overrides: Sequence[str] = ()) -> list[Job]:
    """The jobs of a config's sweep: the product of its lists, in their order.

    Args:
        document: The config.
        overrides: The overrides that `document` was loaded with.

    Returns:
        The jobs; combinations that mean the same config are one job.

    Raises:
        UsageError: The config sweeps nothing.
        ConfigError: A combination is no valid config.
    """
    swept = document.envelope.sweep
    if not swept:
        raise UsageError(f"{document.path} sweeps nothing: add `sweep:` or use --sweep key=value,value")
    found: dict[str, Job] = {}
    for combination in itertools.product(*swept.values()):
        values = dict(zip(swept, combination, strict=True))
        own = (*overrides, "sweep=null", *(f"{key}={json.dumps(value)}" for key, value in values.items()))
        identity = load(document.path, own, deep=not found).hash
        found.setdefault(identity, Job(values, own, identity))
    return list(found.values())


def results(folder: Path, wanted: Sequence[Job]) -> list[Result]:
    """How each job of a sweep stands, as its run folders tell.

    Nothing else is kept, so that there is nothing that a crash could make untrue.

    Args:
        folder: The sweep's folder.
        wanted: The jobs.

    Returns:
        A result a job.
    """
    runs: dict[str, RunFolder] = {}
    for run in everything(folder / "runs"):
        identity = str(run.summary.get("config_hash"))
        if identity not in runs or run.summary.get("status") == "done":
            runs[identity] = run
    return [_result(job, runs.get(job.hash)) for job in wanted]


def _result(job: Job, run: RunFolder | None) -> Result:
    status = run.summary.get("status") if run else None
    return Result(job, status if status in ("done", "failed") else "pending", run)


def sweep(
    document: Document,
    folder: Path,
    wanted: Sequence[Job],
    *,
    workers: int = 1,
    fail_fast: bool = False,
    retry: bool = False,
    tell: Callable[[Result, int, int], None] = lambda result, done, total: None,
) -> list[Result]:
    """Run what is missing of a sweep: pending jobs are started, or resumed from their checkpoint.

    Args:
        document: The config.
        folder: The sweep's folder; holds `sweep.json` (the jobs) and `runs/`.
        wanted: The jobs.
        workers: Processes that work side by side; the cores are divided among them.
        fail_fast: Stop at the first job that fails.
        retry: Run failed jobs again.
        tell: Called with a result whenever a job ends, with the number done and the total.

    Returns:
        A result a job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = [{"values": job.values, "config_hash": job.hash} for job in wanted]
    (folder / "sweep.json").write_text(json.dumps({"config": str(document.path), "jobs": listing}, indent=2) + "\n")
    _clear(folder / "runs")
    standing = results(folder, wanted)
    again = ("pending", "failed") if retry else ("pending",)
    todo = [
        (document.path, result.job, _resumable(result), folder / "runs")
        for result in standing
        if result.status in again
    ]
    done = len(standing) - len(todo)
    for job in _run_all(todo, min(workers, len(todo))):
        (result,) = results(folder, [job])
        done += 1
        tell(result, done, len(wanted))
        if fail_fast and result.status == "failed":
            break
    return results(folder, wanted)


def _resumable(result: Result) -> Path | None:
    return result.run.path if result.run is not None and result.status == "pending" else None


def _clear(root: Path) -> None:
    """Remove folders that were made but not yet filled when a sweep was killed."""
    for folder in root.glob("*/*"):
        if not (folder / "run.json").exists():
            shutil.rmtree(folder)


_Work = tuple[Path, Job, Path | None, Path]


def _run_all(todo: Sequence[_Work], workers: int) -> Iterator[Job]:
    """Run jobs, in this process or in several, and give each as it ends."""
    if workers <= 1:
        for work in todo:
            yield _run_one(work)
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = multiprocessing.get_context("spawn").Queue()
    for index in range(workers):
        shares.put(cores[index::workers] or cores)
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_claim_cores, initargs=(shares,)
    ) as pool:
        pending = [pool.submit(_run_one, work) for work in todo]
        try:
            for future in concurrent.futures.as_completed(pending):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _claim_cores(shares: Any) -> None:
    mine = shares.get()
    if mine and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, mine)


def _run_one(work: _Work) -> Job:
    path, job, resumable, root = work
    from chainlab.lab.compilation import use_cache
    from chainlab.lab.run import resume, start

    use_cache()
    try:
        if resumable is not None:
            resume(resumable, quiet=True)
        else:
            start(load(path, job.overrides), root=root, quiet=True, command=["run", str(path), *job.overrides])
    except ChainlabError:
        pass  # the run's record holds the error
    return job
