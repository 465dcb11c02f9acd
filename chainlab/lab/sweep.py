"""Sweeps: each job once, whatever is killed on the way."""

import concurrent.futures
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from chainlab.errors import ChainlabError
from chainlab.lab.checkpoint import write_atomic
from chainlab.lab.config import Document, load
from chainlab.lab.jobs import Job
from chainlab.lab.runs import RunFolder, everything, read


@dataclass(frozen=True)
class Result:
    """How a job stands.

    Attributes:
        job: The job.
        status: `done`, `failed`, `pruned` (stopped early by a search), or `pending` when it has not ended.
        run: Its run, where there is one.
    """

    job: Job
    status: str
    run: RunFolder | None

    @property
    def resumable(self) -> Path | None:
        """The run folder that the job goes on in, where it was killed or stopped."""
        return self.run.path if self.run is not None and self.status == "pending" else None

    @property
    def error(self) -> str:
        """Why it failed."""
        return str(self.run.summary.get("error", "")) if self.run else ""


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


def result_of(folder: Path, job: Job) -> Result:
    """How one job of a sweep stands; looks at the folders that bear its hash alone."""
    named = (path.parent for path in (folder / "runs").glob(f"*/*-{job.hash[:8]}*/run.json"))
    runs = [run for run in map(read, named) if run.summary.get("config_hash") == job.hash]
    done = [run for run in runs if run.summary.get("status") == "done"]
    latest = max(runs, key=lambda run: (str(run.summary.get("started")), run.path.name), default=None)
    return _result(job, done[0] if done else latest)


def _result(job: Job, run: RunFolder | None) -> Result:
    status = run.summary.get("status") if run else None
    return Result(job, status if status in ("done", "failed", "pruned") else "pending", run)


def sweep(
    document: Document,
    folder: Path,
    wanted: Sequence[Job],
    *,
    workers: int = 1,
    fail_fast: bool = False,
    retry: bool = False,
    run_all: "Callable[[Sequence[Work]], Iterator[Job]] | None" = None,
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
        run_all: Runs jobs elsewhere, on a cluster, and gives each as it ends.
        tell: Called with a result whenever a job ends, with the number done and the total.

    Returns:
        A result a job.
    """
    write_manifest(document, folder, wanted)
    clear(folder / "runs")
    standing = results(folder, wanted)
    again = ("pending", "failed") if retry else ("pending",)
    todo = [
        (document.path, result.job, result.resumable, folder / "runs") for result in standing if result.status in again
    ]
    done = len(standing) - len(todo)
    for job in run_all(todo) if run_all else run_locally(todo, min(workers, len(todo))):
        result = result_of(folder, job)
        done += 1
        tell(result, done, len(wanted))
        if fail_fast and result.status == "failed":
            break
    return results(folder, wanted)


def write_manifest(document: Document, folder: Path, wanted: Sequence[Job]) -> None:
    """Write `sweep.json`, which lists a sweep's jobs with their values and hashes."""
    folder.mkdir(parents=True, exist_ok=True)
    listing = [{"values": job.values, "config_hash": job.hash} for job in wanted]
    text = json.dumps({"config": str(document.path), "jobs": listing}, indent=2) + "\n"
    write_atomic(folder / "sweep.json", text.encode())


def clear(root: Path) -> None:
    """Remove folders that were made but not yet filled when a sweep was killed."""
    for folder in root.glob("*/*"):
        if not (folder / "run.json").exists():
            shutil.rmtree(folder)


Work: TypeAlias = tuple[Path, Job, Path | None, Path]
"""A job: the config's file, the job, the run folder to resume from if any, and where runs are kept."""


def run_locally(todo: Sequence[Work], workers: int) -> Iterator[Job]:
    """Run jobs, in this process or in several, and give each as it ends.

    Args:
        todo: The jobs.
        workers: Processes that work side by side; the cores are divided among them.

    Yields:
        Each job as it ends.

    Raises:
        SystemExit: A signal has stopped a job, with its checkpoint; the others are left pending.
    """
    if workers <= 1:
        for work in todo:
            yield _run_here(work)
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = multiprocessing.get_context("spawn").Queue()
    for index in range(workers):
        shares.put(cores[index::workers] or cores)
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_claim_cores, initargs=(shares,)
    ) as pool:
        pending = [pool.submit(_run_here, work) for work in todo]
        try:
            for future in concurrent.futures.as_completed(pending):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _claim_cores(shares: Any) -> None:
    mine = shares.get()
    if mine and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, mine)


def run_one(work: Work) -> Job:
    """Run or resume a job in this process.

    Args:
        work: The job.

    Returns:
        The job; what came of it is in its run's record.
    """
    _exit_code(work)
    return work[1]


def _run_here(work: Work) -> Job:
    """Run a job of this machine's own sweep: the signal that stops the job is meant for the sweep."""
    if code := _exit_code(work):
        raise SystemExit(code)
    return work[1]


def _exit_code(work: Work) -> int:
    path, job, resumable, root = work
    from chainlab.lab.compilation import use_cache
    from chainlab.lab.run import resume, start

    use_cache()
    try:
        if resumable is not None:
            return resume(resumable, quiet=True).exit_code
        command = ["run", str(path), *job.overrides]
        return start(load(path, job.overrides), root=root, quiet=True, command=command).exit_code
    except ChainlabError:
        return 0  # the run's record holds the error
