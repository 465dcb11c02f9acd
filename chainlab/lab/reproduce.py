"""Run a run again from its folder alone, and compare every number."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainlab.errors import UsageError
from chainlab.lab import fingerprints
from chainlab.lab.archive import is_archive, unpack
from chainlab.lab.record import Record
from chainlab.lab.run import start
from chainlab.lab.surroundings import differing_packages, load_run


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """How a run compares with its repetition.

    Attributes:
        identical: Whether every metric line and every fingerprint is the same, bit for bit.
        compared: Metric lines and fingerprints that were compared.
        first: The first difference, in words; empty when there is none.
        conditions: What differs between the two surroundings and may excuse a difference.
    """

    identical: bool
    compared: int
    first: str
    conditions: Sequence[str]


def reproduce(folder: Path, *, quiet: bool = False) -> Reproduction:
    """Run a finished run again, from its folder alone, and compare the two bit for bit.

    On CPU with the same number of cores the same program gives the same bits; where the surroundings differ
    from what the run recorded, `conditions` says how.

    Args:
        folder: The run folder, or the archive that `chainlab export` made of one.
        quiet: No progress.

    Returns:
        The comparison.

    Raises:
        UsageError: The folder is no run, or the run is not finished.
    """
    given = folder
    with tempfile.TemporaryDirectory() as scratch:
        if is_archive(given):
            folder = unpack(given, Path(scratch))
        record = Record.open(folder)
        if record.summary.get("status") != "done":
            way = f"`chainlab resume {given}` first" if folder == given else "finish it where it was packed"
            raise UsageError(f"{given} is {record.summary.get('status')}, not done: {way}")
        document = load_run(folder)
        _use_cores(record.summary.get("cores"))
        again = Record.open(start(document, root=Path(scratch), quiet=quiet, command=["reproduce", str(folder)]).folder)
        conditions = [*_conditions(record.summary, again.summary), *_packages(folder)]
        if document.hash != record.summary["config_hash"]:
            conditions.append("config.yaml is not the one that the run was started with")
        found = [_states(record, again), _metrics(record, again)]
        compared = sum(count for count, _ in found)
        difference = next((text for _, text in found if text), "")
    return Reproduction(not difference, compared, difference, conditions)


def _use_cores(cores: int | None) -> None:
    """Keep to as many cores as the run had, where there are more."""
    if cores and hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        if len(mine) > cores:
            os.sched_setaffinity(0, mine[:cores])


def _conditions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    kinds = ("backend", "devices", "cores", "xla_flags", "platform", "git")
    pairs = [(kind, before.get(kind), now.get(kind)) for kind in kinds]
    old, new = before.get("versions") or {}, now.get("versions") or {}
    pairs += [(name, old.get(name), new.get(name)) for name in {**old, **new}]
    return [f"{name}: {json.dumps(a)} then, {json.dumps(b)} now" for name, a, b in pairs if a != b]


def _packages(folder: Path) -> list[str]:
    """Packages that are not those of the run, beside the ones that `versions` names."""
    found = differing_packages(folder)
    more = [f"{len(found) - 10} more"] if len(found) > 10 else []
    return [f"packages: {'; '.join([*found[:10], *more])}"] if found else []


def _states(before: Record, now: Record) -> tuple[int, str]:
    """The first fingerprint that differs, with its leaves."""
    then, again = (fingerprints.journal(record).rows() for record in (before, now))
    return _first(then, again, lambda old, new: _leaves(old["leaves"], new["leaves"]), "fingerprint")


def _leaves(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"state{name}" for name in names[:5]) + more


def _metrics(before: Record, now: Record) -> tuple[int, str]:
    """The first line of metrics.jsonl that differs, with its metrics."""
    then, again = ([json.loads(line) for line in record.metrics.read_text().splitlines()] for record in (before, now))

    def differing(old: dict[str, Any], new: dict[str, Any]) -> str:
        if (old["step"], old["split"]) != (new["step"], new["split"]):
            return f"{old['split']} at step {old['step']} then, {new['split']} at step {new['step']} now"
        names = [name for name in old["metrics"] if old["metrics"][name] != new["metrics"].get(name)]
        return ", ".join(
            f"{old['split']}/{name}: {old['metrics'][name]} then, {new['metrics'].get(name)} now" for name in names
        )

    return _first(then, again, differing, "line of metrics")


def _first(
    then: Sequence[dict[str, Any]], again: Sequence[dict[str, Any]], differing: Callable[[Any, Any], str], what: str
) -> tuple[int, str]:
    last = 0
    for old, new in zip(then, again, strict=False):
        text = differing(old, new)
        if text:
            since = f"equal up to step {last}" if last else "from the start"
            return len(then), f"step {old['step']} ({since}): {text}"
        last = old["step"]
    if len(then) != len(again):
        return len(then), f"{len(then)} {what}s then, {len(again)} now"
    return len(then), ""
