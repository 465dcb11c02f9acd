"""Settings outside the program, such as the allocator's: timed on this machine, kept where they pay, and used.

They never change what is computed: every setting must give the same numbers before it is timed.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainlab.errors import UsageError
from chainlab.lab.cache import cache_folder

if TYPE_CHECKING:
    from chainlab.lab.config import Document

ACTIVE = "CHAINLAB_SETTINGS"
"""Names the settings that a process runs under; set it to `default` to use none."""

SETTINGS: Mapping[str, Mapping[str, str]] = {
    # XLA maps its temporary arena anew at every dispatch; a heap that is never trimmed keeps the pages.
    "kept heap": {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "8589934592",
        "MALLOC_TOP_PAD_": "67108864",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    },
    "kept heap, one arena": {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "8589934592",
        "MALLOC_TOP_PAD_": "268435456",
        "MALLOC_ARENA_MAX": "1",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    },
}
"""Environment variables by name of the setting; all are glibc's."""

_WORTH = 1.03  # less than this is not told apart from noise
_NO_WORK = ("seed", "note", "tags", "expect", "tracking", "sweep", "search")
"""Keys that do not change the time of a step."""


@dataclass(frozen=True)
class Trial:
    """What a setting did.

    Attributes:
        setting: Its name.
        speed: Default time over this setting's time, the median over rounds.
        lowest: The smallest ratio of a round.
        highest: The largest.
        peak_mib: Peak resident memory, in MiB.
    """

    setting: str
    speed: float
    lowest: float
    highest: float
    peak_mib: float

    @property
    def pays(self) -> bool:
        """Whether it is quicker in every round, and by more than noise in the middle one."""
        return self.speed >= _WORTH and self.lowest > 1.0


def tune(document: "Document", *, rounds: int = 5, seconds: float = 1.0) -> list[Trial]:
    """Time a config's own steps under every setting, interleaved, and remember the best one that pays.

    Args:
        document: The config.
        rounds: Rounds; every setting is timed once in each.
        seconds: About how long a timing takes.

    Returns:
        The trials, the remembered one first where one pays.

    Raises:
        UsageError: The platform's C library is not glibc, whose settings these are.
    """
    import importlib

    from chainlab.lab.bench import compare, ratios

    if platform.libc_ver()[0] != "glibc":
        raise UsageError(f"tune: wanted a machine with glibc, whose allocator is tuned, got {platform.platform()}")
    script = Path(importlib.import_module("chainlab.experiments.benchmarks").__path__[0], "peers", "config_steps.py")
    inherited = {name: os.environ[name] for name in _variables() if name in os.environ}
    if inherited:
        raise UsageError(f"tune: {', '.join(sorted(inherited))} are set already: unset them, or keep your own choice")
    timings, _, missing = compare(
        {"config": document.to_yaml(), "seconds": seconds},
        dict.fromkeys(("default", *SETTINGS), (script, "chainlab")),
        ours="default",
        rounds=rounds,
        threads=len(os.sched_getaffinity(0)),
        tolerance=0.0,
        variables={name: {**variables, ACTIVE: name} for name, variables in {"default": {}, **SETTINGS}.items()},
    )
    if missing:
        raise UsageError("tune: a setting does not run here: " + "; ".join(missing.values()))
    measured = ratios(timings, "default")
    trials = [
        Trial(name, 1 / middle, 1 / highest, 1 / lowest, max(row["peak_mib"] for row in timings[name]))
        for name, (middle, lowest, highest) in measured.items()
    ]
    trials.sort(key=lambda trial: (not trial.pays, -trial.speed))
    best = trials[0]
    _remember(_workload(document), {"setting": best.setting, "speed": best.speed} if best.pays else None)
    return trials


def remembered(document: "Document") -> tuple[str, float] | None:
    """The setting that paid for a config on this machine.

    Args:
        document: The config.

    Returns:
        Its name and how many times quicker it was, or None.
    """
    found = _read().get(_workload(document))
    return (found["setting"], found["speed"]) if found and found["setting"] in SETTINGS else None


def apply(document: "Document", arguments: Sequence[str]) -> None:
    """Start this process again under the setting that paid, if one did; say so.

    The allocator reads its settings when a process starts, so that they can't be changed later. Variables that
    the user has set are left alone, and `CHAINLAB_SETTINGS=default` switches this off.

    Args:
        document: The config that is about to run.
        arguments: Of the command line, which is run again.
    """
    found = None if ACTIVE in os.environ else remembered(document)
    if found is None or any(name in os.environ for name in _variables()):
        return
    setting, speed = found
    print(
        f"setting: {setting}, {speed:.2f}x here (`chainlab tune` measured it; {ACTIVE}=default leaves it out)",
        file=sys.stderr,
        flush=True,
    )
    environment = {**os.environ, **SETTINGS[setting], ACTIVE: setting}
    os.execve(sys.executable, [sys.executable, "-m", "chainlab", *arguments], environment)


def _variables() -> set[str]:
    return {name for variables in SETTINGS.values() for name in variables}


def _workload(document: "Document") -> str:
    """What a step's time depends on: the config without what does not change it, the processor and its cores."""
    kept = {key: value for key, value in document.values.items() if key not in _NO_WORK}
    kept["run"] = {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = json.dumps([kept, platform.node(), platform.machine(), cores], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _file() -> Path:
    return cache_folder() / "tuning.json"


def _read() -> dict[str, Any]:
    try:
        return json.loads(_file().read_text())
    except (OSError, ValueError):  # nothing was tuned, or the file is damaged: it can be measured again
        return {}


def _remember(workload: str, entry: Mapping[str, Any] | None) -> None:
    entries = {key: value for key, value in _read().items() if key != workload}
    if entry is not None:
        entries[workload] = dict(entry)
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(entries, indent=1))
    partial.replace(file)
