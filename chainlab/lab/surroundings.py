"""What a run stood in: the packages that were installed, and the user's own code."""

import functools
import importlib.metadata
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from chainlab.lab.config import Document, load

_LOCK, _SOURCE = "lock.txt", "source"


@functools.cache
def lock() -> str:
    """Every installed package with its version, as `pip install -r` reads it.

    Returns:
        A comment that names the Python, and a line a package.

    Example:
        >>> any(line.startswith("numpy==") for line in lock().splitlines())
        True
    """
    names = {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in importlib.metadata.distributions()}
    lines = [f"{name}=={version}" for name, version in sorted(names.items())]
    return "\n".join([f"# Python {platform.python_version()}, {platform.platform()}", *lines, ""])


def keep(document: Document, folder: Path) -> None:
    """Keep the lock in a run folder, and the user's own code where the experiment is a file of theirs.

    Args:
        document: The run's config; its experiment has been called, so that what it imports is loaded.
        folder: The run folder; gets `lock.txt`, and `source/` with the file and the modules beside it.
    """
    (folder / _LOCK).write_text(lock())
    file = document.experiment.file
    if file is None:
        return
    for module in list(sys.modules.values()):
        path = Path(getattr(module, "__file__", None) or "/")
        if path.suffix == ".py" and path.resolve().is_relative_to(file.parent) and path.is_file():
            inside = path.resolve().relative_to(file.parent)
            if inside.parts[0] not in ("site-packages", ".venv", "venv", "runs"):
                (folder / _SOURCE / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / _SOURCE / inside)


def load_run(folder: Path, overrides: Sequence[str] = ()) -> Document:
    """The config of a run, with the code that the run was started with.

    Args:
        folder: The run folder.
        overrides: `a.b=value`, such as another mesh.

    Returns:
        The config; a user's experiment is loaded from the run's `source/`.

    Raises:
        ConfigError: The config cannot be read.
    """
    config = folder / "config.yaml"
    if not (folder / _SOURCE).is_dir():
        return load(config, overrides)
    from chainlab.lab.runs import read

    address = str(read(folder).settings["experiment"])
    file, _, function = address.rpartition(":")
    kept = f"{(folder / _SOURCE / Path(file).name).resolve()}:{function}"
    return load(config, [f"experiment={kept}", *overrides])


def differing_packages(folder: Path) -> list[str]:
    """Packages whose version is not the one that a run had.

    Args:
        folder: The run folder.

    Returns:
        `name: version then, version now`, a package each; nothing where the run kept no lock.
    """
    file = folder / _LOCK
    if not file.is_file():
        return []
    then, now = _versions(file.read_text()), _versions(lock())
    return [
        f"{name}: {then.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _versions(text: str) -> dict[str, str]:
    lines = [line.partition("==") for line in text.splitlines() if "==" in line and not line.startswith("#")]
    return {name: version for name, _, version in lines}
