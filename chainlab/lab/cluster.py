"""Jobs on a cluster, through submitit: SLURM, or processes of this machine."""

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
        cluster: `slurm`, or `local` for processes of this machine.
        folder: Where submitit keeps scripts and logs.
        parameters: Parameters of submitit's executor, such as `timeout_min` or `slurm_partition`.

    Yields:
        Each job as it ends.

    Raises:
        UsageError: submitit does not take a parameter, or there is no such cluster here.
        ChainlabError: Jobs were lost before their run could record why (a node that died, a time limit).
        MissingDependencyError: submitit is not installed.
    """
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
    absolute = [(path.absolute(), job, run and run.absolute(), root.absolute()) for path, job, run, root in todo]
    with executor.batch():
        handles = [executor.submit(run_one, work) for work in absolute]
    jobs = {handle.job_id: work[1] for handle, work in zip(handles, todo, strict=True)}
    lost: list[str] = []
    for handle in helpers.as_completed(handles):
        if (error := handle.exception()) is not None:
            lost.append(f"job {handle.job_id}: {str(error).strip().splitlines()[-1]}")
        yield jobs[handle.job_id]
    if lost:
        raise ChainlabError(f"{len(lost)} jobs were lost (logs in {folder}); run the sweep again:\n" + "\n".join(lost))
