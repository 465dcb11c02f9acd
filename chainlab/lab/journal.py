"""A file of JSON lines, one a step, that a killed run leaves readable and a resumed one continues."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainlab.lab.checkpoint import write_atomic


@dataclass(frozen=True)
class Journal:
    """An append-only file of rows that each hold a `step`.

    Attributes:
        path: The file; it need not exist yet.
    """

    path: Path

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows at the end, in one piece."""
        with open(self.path, "ab") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; what a killed run was writing last is left out."""
        found: list[dict[str, Any]] = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def forget_after(self, step: int) -> None:
        """Drop the rows after a step: a run that is resumed there writes them again."""
        if self.path.exists():
            kept = [row for row in self.rows() if row["step"] <= step]
            write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
