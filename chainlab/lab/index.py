"""An index of runs in SQLite, so that thousands are listed at once; it can be deleted at any time.

The run folders are the record. The index holds nothing that they don't, and reads a folder again when its
`run.json` has changed.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from chainlab.errors import UsageError
from chainlab.lab.rows import Row, row
from chainlab.lab.runs import folders, read

_NAME = "index.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS runs (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, row TEXT NOT NULL)"
_VERSION = 1  # of what `row` holds: another number reads every folder again


def rows(root: Path = Path("runs"), *, rebuild: bool = False) -> list[Row]:
    """Every run below a folder as a flat row, the oldest first; the index is brought up to date on the way.

    Args:
        root: Where runs are kept. The index is `index.sqlite` in it, a table `runs` of `path`, `stamp` and `row`
            (JSON); where it cannot be written, the folders are read without one.
        rebuild: Forget the index and read every folder again.

    Returns:
        The rows (`chainlab.lab.rows.row`).
    """
    if not root.is_dir():
        return []
    file = root / _NAME
    if rebuild:
        file.unlink(missing_ok=True)
    try:
        found = _refresh(str(file), root)
    except sqlite3.OperationalError:  # a folder that may only be read, or a lock held too long
        found = _refresh(":memory:", root)
    except sqlite3.DatabaseError:  # not a database, or a damaged one
        file.unlink(missing_ok=True)
        found = _refresh(str(file), root)
    return sorted(found, key=lambda each: (str(each.get("started") or ""), str(each["path"])))


def _refresh(database: str, root: Path) -> list[Row]:
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        connection.execute(_SCHEMA)
        known: dict[str, tuple[str, str]] = {
            path: (stamp, text) for path, stamp, text in connection.execute("SELECT path, stamp, row FROM runs")
        }
        found: list[Row] = []
        changed: list[tuple[str, str, str]] = []
        there: set[str] = set()
        for folder in folders(root):
            path = folder.relative_to(root).as_posix()
            there.add(path)
            stamp = _stamp(folder)
            if path in known and known[path][0] == stamp:
                each: Row = json.loads(known[path][1])
            else:
                try:
                    each = row(read(folder))
                except UsageError:
                    continue
                changed.append((path, stamp, json.dumps(each)))
            found.append({**each, "path": str(folder)})  # as seen from the current folder
        gone = [(path,) for path in known if path not in there]
        if changed or gone:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", changed)
                connection.executemany("DELETE FROM runs WHERE path = ?", gone)
    return found


def _stamp(folder: Path) -> str:
    stat = (folder / "run.json").stat()
    return f"{_VERSION}:{stat.st_mtime_ns}:{stat.st_size}"
