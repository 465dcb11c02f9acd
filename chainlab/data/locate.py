"""Where a data set is looked for, in one place."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from chainlab.errors import MissingDataError


def locate(
    name: str, files: Sequence[str], *, path: str | Path | None = None, system: Sequence[str] = (), how: str
) -> list[Path]:
    """Find a data set's files.

    A path that was asked for is the only place looked at. Otherwise `$CHAINLAB_DATA/name` and
    `$CHAINLAB_DATA` itself come first (the variable may name several folders, separated as in `$PATH`), then
    the places where a system package installs the data.

    Args:
        name: Name of the data set, and of its folder.
        files: Files it consists of; each may also be there with `.gz` after its name.
        path: The folder that the user named, or the file itself when there is only one.
        system: Folders where system packages install the data.
        how: How to get the data, for the error.

    Returns:
        The files, in the order of `files`.

    Raises:
        MissingDataError: They are in none of the places.
    """
    if path is not None:
        places = [Path(path).expanduser()]
        if len(files) == 1 and places[0].is_file():
            return places
    else:
        roots = [Path(root).expanduser() for root in os.environ.get("CHAINLAB_DATA", "").split(os.pathsep) if root]
        places = [place for root in roots for place in (root / name, root)] + [Path(folder) for folder in system]
    for place in places:
        found = [_either(place / file) for file in files]
        if all(found):
            return [file for file in found if file]
    looked = (
        "\n".join(f"  {place}: {_missing(place, files)}" for place in places) or "  nowhere: $CHAINLAB_DATA is not set"
    )
    raise MissingDataError(f"{name}: no data on this machine. Looked in\n{looked}\nTo get it: {how}")


def _either(file: Path) -> Path | None:
    return next((each for each in (file, file.with_name(file.name + ".gz")) if each.is_file()), None)


def _missing(place: Path, files: Sequence[str]) -> str:
    if not place.is_dir():
        return "not a folder" if place.exists() else "no such folder"
    return "without " + ", ".join(file for file in files if not _either(place / file))


def existing(path: str | Path) -> Path:
    """The user's own file.

    Args:
        path: Its path; `~` is the home folder.

    Returns:
        The path.

    Raises:
        MissingDataError: There is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingDataError(f"{file}: no such file (looked in {file.parent.absolute()})")
    return file


def existing_folder(path: str | Path, holds: str) -> Path:
    """The user's folder.

    Args:
        path: Its path; `~` is the home folder.
        holds: What is wanted in it, for the error.

    Returns:
        The path.

    Raises:
        MissingDataError: There is no such folder.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise MissingDataError(f"{folder}: no such folder: wanted {holds}")
    return folder


def sha256(file: Path) -> str:
    """The sha256 of a file, read in pieces.

    Args:
        file: The file.

    Returns:
        The digest in hexadecimal.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
