"""Panels that an experiment contributes, kept in the run folder so that a report can be written again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainlab.errors import UsageError
from chainlab.lab.report.figure import to_svg

if TYPE_CHECKING:
    from chainlab.lab.task import Panel


@dataclass(frozen=True)
class SavedPanel:
    """A panel as it is kept: the figure drawn, the rows plain.

    Attributes:
        title: Heading of the panel.
        svg: The figure as an SVG element, or an empty string.
        rows: A table, as rows by column name.
        note: A sentence under it.
    """

    title: str
    svg: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    note: str = ""


def save_panels(panels: "Sequence[Panel]", folder: Path) -> None:
    """Keep panels in a run folder: `panels.json`, and a figure each in `panels/<n>.svg`.

    Args:
        panels: The panels; their figures are drawn and closed.
        folder: The run folder.
    """
    drawings = folder / "panels"
    drawings.mkdir(exist_ok=True)
    entries: list[dict[str, Any]] = []
    for number, panel in enumerate(panels):
        entry: dict[str, Any] = {"title": panel.title, "rows": _plain(list(panel.rows)), "note": panel.note}
        if panel.figure is not None:
            from matplotlib import pyplot

            entry["figure"] = f"panels/{number}.svg"
            (folder / entry["figure"]).write_text(to_svg(panel.figure, f"panel {number} {panel.title}"))
            pyplot.close(panel.figure)
        entries.append(entry)
    (folder / "panels.json").write_text(json.dumps(entries, indent=2) + "\n")


def load_panels(folder: Path) -> list[SavedPanel]:
    """Read the panels of a run folder.

    Args:
        folder: The run folder.

    Returns:
        The panels; none where the run kept none.

    Raises:
        UsageError: `panels.json` or a figure it names is damaged or missing.
    """
    file = folder / "panels.json"
    if not file.is_file():
        return []
    try:
        return [
            SavedPanel(
                str(entry["title"]),
                (folder / "panels" / Path(entry["figure"]).name).read_text() if "figure" in entry else "",
                list(entry["rows"]),
                str(entry["note"]),
            )
            for entry in json.loads(file.read_text())
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: not a list of panels: {error}") from None


def _plain(value: Any) -> Any:
    """NumPy and JAX values as JSON values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return _plain(np.asarray(value).tolist()) if hasattr(value, "__array__") else str(value)
