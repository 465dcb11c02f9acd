"""Sweeps that learn from the jobs before them, through optuna: TPE proposes, ASHA stops early."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from chainlab.errors import ChainlabError, MissingDependencyError, UsageError
from chainlab.lab.config import Document, load
from chainlab.lab.config.envelope import Search
from chainlab.lab.jobs import Space, holds, job, space
from chainlab.lab.record import Record
from chainlab.lab.run import resume, start
from chainlab.lab.runs import RunFolder
from chainlab.lab.sweep import Result, clear, result_of, write_manifest

if TYPE_CHECKING:
    import optuna

_FACTOR = 3  # ASHA keeps a third of the trials at each rung


def search(
    document: Document,
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    fail_fast: bool = False,
    tell: Callable[[Result, int, int], None] = lambda result, done, total: None,
) -> list[Result]:
    """Run a config's search, one trial after another; the same call again finishes what is missing.

    Args:
        document: The config; `search:` names the sampler, the pruner and the metric.
        folder: The sweep's folder; holds `sweep.json` (the trials so far) and `runs/`.
        overrides: The overrides that `document` was loaded with.
        fail_fast: Stop at the first trial that fails.
        tell: Called with a result whenever a trial ends, with the number done and the total.

    Returns:
        A result a trial.

    Raises:
        UsageError: The config sweeps nothing, or ASHA has no evaluations to judge by.
        MissingDependencyError: optuna is not installed.

    References:
        Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; Li et al., A System for
        Massively Parallel Hyperparameter Tuning, MLSys 2020, arXiv:1810.05934.
    """
    settings, tried = document.envelope.search or Search(), space(document)
    study = _study(settings)
    if settings.pruner == "asha" and document.envelope.run.eval_every is None:
        raise UsageError("search.pruner: asha judges by evaluations on the way: set run.eval_every")
    clear(folder / "runs")
    found: list[Result] = []
    wanted = [job(document, overrides, values) for values in _before(folder)]
    while len(found) < settings.trials:
        if len(found) < len(wanted):  # proposed by an earlier call
            study.enqueue_trial(_parameters(wanted[len(found)].values, tried))
        study.sampler = _sampler(settings, len(found))
        trial = study.ask()
        current = job(document, overrides, _suggest(trial, tried, document))
        if len(found) == len(wanted):
            wanted.append(current)
            write_manifest(document, folder, wanted)
        before = result_of(folder, current)
        result = _advance(document, folder, before, trial, settings)
        _tell(study, trial, result, settings)
        found.append(result)
        if before.status == "pending":
            tell(result, len(found), settings.trials)
        if fail_fast and result.status == "failed":
            break
    return found


def _study(settings: Search) -> "optuna.Study":
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("optuna", "sweep", "a search") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_FACTOR)
    direction = "maximize" if settings.mode == "max" else "minimize"
    return optuna.create_study(pruner=pruner, direction=direction)


def _sampler(settings: Search, trial: int) -> "optuna.samplers.BaseSampler":
    """A sampler of its own for each trial: what it proposes depends on the trials before, and not on when they ran."""
    from optuna.samplers import RandomSampler, TPESampler

    return (TPESampler if settings.sampler == "tpe" else RandomSampler)(seed=settings.seed * 1_000_003 + trial)


def _before(folder: Path) -> list[dict[str, Any]]:
    """The values of the trials that earlier calls proposed."""
    file = folder / "sweep.json"
    return [each["values"] for each in json.loads(file.read_text())["jobs"]] if file.is_file() else []


def _parameters(values: Mapping[str, Any], tried: Space) -> dict[str, Any]:
    """Values as optuna knows them: an entry of a list by its place."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        choices = tried[key].choices
        found[key] = value if choices is None else [json.dumps(each) for each in choices].index(json.dumps(value))
    return found


def _suggest(trial: "optuna.Trial", tried: Space, document: Document) -> dict[str, Any]:
    """The values that a trial proposes; a key whose condition is not met is not asked for."""
    values: dict[str, Any] = {}
    for key, each in tried.items():
        if not holds(each, values, document.values):
            continue
        if each.choices is not None:
            values[key] = each.choices[trial.suggest_categorical(key, range(len(each.choices)))]
        elif each.integers is not None:
            values[key] = trial.suggest_int(key, *each.integers)
        else:
            low, high = each.log_uniform or each.uniform or (0.0, 1.0)
            values[key] = trial.suggest_float(key, low, high, log=each.log_uniform is not None)
    return values


def _advance(document: Document, folder: Path, result: Result, trial: "optuna.Trial", settings: Search) -> Result:
    """Run a trial to its end, or to the rung where it is stopped; one that has ended is only judged again."""
    job, every = result.job, document.envelope.run.eval_every
    for until in [*_rungs(document), None] if settings.pruner == "asha" else [None]:
        if result.status == "pending":
            _run(document, folder, result, until)
            result = result_of(folder, job)
        value = None if until is None else _value_at(result.run, settings.metric, until)
        if value is None or every is None or until is None:
            break
        trial.report(value, until // every)
        if trial.should_prune() and result.status == "pending" and result.run is not None:
            Record.open(result.run.path).update(status="pruned")
            return result_of(folder, job)
    return result


def _rungs(document: Document) -> list[int]:
    """Steps at which ASHA looks: evaluations 1, 3, 9, ..."""
    every, steps = document.envelope.run.eval_every or 0, document.envelope.run.steps
    rungs = [every * _FACTOR**power for power in range(32)]
    return [rung for rung in rungs if 0 < rung < steps]


def _run(document: Document, folder: Path, result: Result, until: int | None) -> None:
    step = result.run.summary.get("step", 0) if result.run else 0
    if until is not None and step >= until:
        return
    try:
        if result.resumable is not None:
            run = resume(result.resumable, until=until, quiet=True)
        else:
            command = ["run", str(document.path), *result.job.overrides]
            config = load(document.path, result.job.overrides)
            run = start(config, root=folder / "runs", until=until, quiet=True, command=command)
    except ChainlabError:
        return  # the run's record holds the error
    if run.exit_code:  # the signal that stopped the run is meant for the search
        raise SystemExit(run.exit_code)


def _value_at(run: RunFolder | None, metric: str | None, step: int) -> float | None:
    """The metric's mean over seeds at a step, or None where it was not evaluated there."""
    split, _, name = (metric or "").partition("/")
    curve = run.curves.get(name, {}).get(split) if run else None
    return None if curve is None or step not in curve.steps else float(curve.values[curve.steps == step][-1].mean())


def _tell(study: "optuna.Study", trial: "optuna.Trial", result: Result, settings: Search) -> None:
    import optuna

    states = {"failed": optuna.trial.TrialState.FAIL, "pruned": optuna.trial.TrialState.PRUNED}
    if result.status in states:
        study.tell(trial, state=states[result.status])
        return
    final = result.run.final if result.run else {}
    if settings.metric not in final:
        raise UsageError(f"search.metric: no metric {settings.metric!r}; the runs give {', '.join(final) or 'none'}")
    study.tell(trial, fmean(final[settings.metric]))
