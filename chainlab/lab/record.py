"""The run folder: everything needed to read, resume and reproduce a run."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from chainlab.errors import ChainlabError, UsageError
from chainlab.lab import checkpoint, tuning
from chainlab.lab.runs import read

_LIBRARIES = ("chainlab", "jax", "jaxlib", "numpy", "optax", "flax", "pennylane", "scikit-learn")


def create_folder(root: Path, experiment: str, config_hash: str) -> Path:
    """Make the folder of a new run, `root/<experiment>/<time>-<confighash8>`.

    Args:
        root: Where runs are kept.
        experiment: Short name of the experiment.
        config_hash: Hash of the resolved config.

    Returns:
        The new folder; an existing one is never taken.

    Raises:
        UsageError: There can be no folder.
    """
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{config_hash[:8]}"
    for attempt in range(1000):
        folder = root / experiment / (stem if attempt == 0 else f"{stem}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
            (folder / "checkpoints").mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot make a run folder in {root}: {error.strerror}") from error
        return folder
    raise ChainlabError(f"cannot make a run folder {root / experiment / stem}: 1000 of that name exist")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def provenance() -> dict[str, Any]:
    """What a result depends on beside its config: versions, devices, cores, flags, code.

    Returns:
        JSON values; `git` describes the current folder's checkout, or is None outside one.
    """
    versions: dict[str, str] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    status = _git("status", "--porcelain")
    return {
        "versions": versions,
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "settings": os.environ.get(tuning.ACTIVE, "default"),
        "git": None if status is None else {"commit": _git("rev-parse", "HEAD"), "dirty": bool(status)},
    }


def peak_memory_mib() -> float:
    """Peak resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def plain(value: Any) -> Any:
    """Arrays and numpy scalars as JSON numbers and lists."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).astype(float).tolist()
    return value


@dataclass
class Record:
    """The files of one run: `run.json`, `metrics.jsonl` and `checkpoints/`.

    Attributes:
        folder: The run folder.
        summary: What `run.json` holds.
        shared: The run folder whose checkpoints are read and written; `folder` unless several processes train.
    """

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    shared: Path | None = None

    @property
    def _checkpoints(self) -> Path:
        return (self.shared or self.folder) / "checkpoints"

    @classmethod
    def open(cls, folder: Path) -> "Record":
        """Read the record of an existing run.

        Args:
            folder: The run folder.

        Returns:
            The record.

        Raises:
            UsageError: The folder holds no readable run.
        """
        return cls(folder, dict(read(folder).summary))

    def update(self, **values: Any) -> None:
        """Change entries of `run.json`, atomically."""
        self.summary.update(plain(values))
        checkpoint.write_atomic(self.folder / "run.json", json.dumps(self.summary, indent=2).encode() + b"\n")

    @property
    def metrics(self) -> Path:
        """The metrics file."""
        return self.folder / "metrics.jsonl"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint file of a step."""
        return self._checkpoints / f"step-{step:09d}.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint of the best evaluation."""
        return self._checkpoints / "best.ckpt"

    def checkpoints(self) -> Sequence[Path]:
        """Step checkpoints, the latest first."""
        return sorted(self._checkpoints.glob("step-*.ckpt"), reverse=True)

    def prune(self, keep: int) -> None:
        """Remove all step checkpoints but the latest `keep`, and what interrupted saves left behind."""
        if self.shared not in (None, self.folder):
            return  # the first process does it
        for path in [*self.checkpoints()[keep:], *self._checkpoints.glob("*.ckpt.orbax*")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for path in self._checkpoints.glob(".*.ckpt.*"):
            path.unlink(missing_ok=True)
