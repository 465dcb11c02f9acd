"""A run as one file that another machine can check, read and reproduce."""

import hashlib
import json
import zipfile
from pathlib import Path, PurePosixPath

from chainlab import __version__
from chainlab.errors import UsageError
from chainlab.lab.runs import read

_MANIFEST = "manifest.json"


def pack(folder: Path, path: Path | None = None) -> Path:
    """Pack a run folder as a zip archive.

    Args:
        folder: The run folder.
        path: The file to write; `<experiment>-<run>.zip` in the current folder by default.

    Returns:
        The file. It holds the run folder under its name, with `manifest.json`: the SHA-256 of every file.

    Raises:
        UsageError: The folder is no run, or the run has not ended.
    """
    run = read(folder)
    if run.summary.get("status") == "running":
        raise UsageError(f"{folder} is running: wait for its end, or `chainlab resume {folder}` if it was killed")
    path = path or Path(f"{run.name.replace('/', '-')}.zip")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    hashes: dict[str, str] = {}
    temporary = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            inside = file.relative_to(folder).as_posix()
            if inside != _MANIFEST:
                content = file.read_bytes()
                hashes[inside] = hashlib.sha256(content).hexdigest()
                archive.writestr(f"{folder.resolve().name}/{inside}", content)
        manifest = {"chainlab": __version__, "run": run.name, "files": hashes}
        archive.writestr(f"{folder.resolve().name}/{_MANIFEST}", json.dumps(manifest, indent=2) + "\n")
    return temporary.replace(path)


def is_archive(path: Path) -> bool:
    """Whether a path is a packed run."""
    return path.suffix == ".zip" and path.is_file()


def unpack(path: Path, into: Path) -> Path:
    """Unpack a run and check every file against the manifest.

    Args:
        path: The archive.
        into: The folder that gets the run folder.

    Returns:
        The run folder.

    Raises:
        UsageError: The file is no packed run, or a file in it is missing, added, changed, or would lie elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            inner = [PurePosixPath(name) for name in names]
            if any(each.is_absolute() or ".." in each.parts or "\\" in str(each) for each in inner):
                raise UsageError(f"{path}: a file in it would lie outside the folder it is unpacked into")
            tops = {each.parts[0] for each in inner}
            top = next(iter(tops), "")
            if len(tops) != 1 or f"{top}/{_MANIFEST}" not in names:
                raise UsageError(f"{path} is not a packed run: it holds no {_MANIFEST}")
            wanted = json.loads(archive.read(f"{top}/{_MANIFEST}"))["files"]
            found = {name.removeprefix(f"{top}/"): archive.read(name) for name in names}
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is not a packed run: {error}") from None
    del found[_MANIFEST]
    wrong = [name for name in {**wanted, **found} if _hash(found.get(name)) != wanted.get(name)]
    if wrong:
        raise UsageError(f"{path} is damaged or was changed: {', '.join(sorted(wrong)[:5])}")
    for name, content in found.items():
        file = into / top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return into / top


def _hash(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
