"""Jobs on a cluster: SLURM or processes of this machine through submitit, any other through Dask."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainlab.errors import ChainlabError, MissingDependencyError, UsageError
from chainlab.lab.jobs import Job
from chainlab.lab.sweep import Work, run_one


def submit(todo: Sequence[Work], cluster: str, folder: Path, parameters: Mapping[str, Any]) -> Iterator[Job]:
    """Run jobs on a cluster, and give each as it ends.

    What a job has done is in its run folder, which lies on a file system that the cluster shares.

    Args:
        todo: The jobs.
        cluster: `slurm`, `local` for processes of this machine, or `dask`.
        folder: Where submitit keeps scripts and logs.
        parameters: Parameters of submitit's executor, such as `timeout_min` or `slurm_partition`; with Dask those of
            its client, such as `address`, the scheduler's.

    Yields:
        Each job as it ends.

    Raises:
        UsageError: A parameter is not taken, or there is no such cluster here.
        ChainlabError: Jobs were lost before their run could record why (a node that died, a time limit).
        MissingDependencyError: submitit or Dask is not installed.
    """
    absolute = [(path.absolute(), job, run and run.absolute(), root.absolute()) for path, job, run, root in todo]
    ended = (_dask if cluster == "dask" else _submitit)(absolute, cluster, folder, parameters)
    lost: list[str] = []
    for job, error in ended:
        if error is not None:
            values = " ".join(f"{key}={value}" for key, value in job.values.items())
            lost.append(f"{values}: {str(error).strip().splitlines()[-1]}")
        yield job
    if lost:
        logs = f" (logs in {folder})" if folder.exists() else ""
        raise ChainlabError(f"{len(lost)} jobs were lost{logs}; run the sweep again:\n" + "\n".join(lost))


_Ended = Iterator[tuple[Job, BaseException | None]]


def _submitit(todo: Sequence[Work], cluster: str, folder: Path, parameters: Mapping[str, Any]) -> _Ended:
    try:
        import submitit
        from submitit import helpers
    except ImportError as error:
        raise MissingDependencyError("submitit", "sweep", "a sweep on a cluster") from error
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name="chainlab", **parameters)
    except (NameError, RuntimeError, TypeError) as error:
        raise UsageError(f"--cluster {cluster}: {error}") from error
    if not todo:
        return
    with executor.batch():
        handles = [executor.submit(run_one, work) for work in todo]
    jobs = {handle.job_id: work[1] for handle, work in zip(handles, todo, strict=True)}
    for handle in helpers.as_completed(handles):
        yield jobs[handle.job_id], handle.exception()


def _dask(todo: Sequence[Work], cluster: str, folder: Path, parameters: Mapping[str, Any]) -> _Ended:
    del cluster, folder
    try:
        import distributed  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError("distributed", "dask", "a sweep on Dask") from error
    try:
        client = distributed.Client(**parameters)
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"--cluster dask: {error}") from error
    with client:
        futures = {client.submit(run_one, work, pure=False): work[1] for work in todo}
        for future in distributed.as_completed(futures):
            yield futures[future], future.exception()
