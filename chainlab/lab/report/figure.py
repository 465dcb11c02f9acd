"""Figures as SVG that takes its colours from the page, so that one file serves light and dark."""

import itertools
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from chainlab.lab.runs import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = ("#3b7dd8", "#e0762f", "#2f9e6e", "#c2477f", "#8a63d2", "#9a8412", "#2aa1b3", "#8c6d5a")
"""Colours of lines: told apart on white and on near-black."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, and in the page's colour
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#b0b0b0",
    "axes.grid": True,
    "grid.color": "#cccccc",
    "grid.linewidth": 0.6,
    "xtick.color": "#b0b0b0",
    "ytick.color": "#b0b0b0",
    "xtick.labelcolor": "#000000",
    "ytick.labelcolor": "#000000",
    "legend.frameon": False,
}
_THEME = {
    "#000000": "currentColor",
    "#ffffff": "var(--surface, #ffffff)",
    "#cccccc": "var(--grid, #cccccc)",
    "#b0b0b0": "var(--axis, #b0b0b0)",
}


def to_svg(figure: "Figure", name: str) -> str:
    """A figure as an SVG element.

    Black becomes the page's text colour, white its surface; other colours stay.

    Args:
        figure: A matplotlib figure.
        name: Keeps the element's ids apart from those of other figures on the page.

    Returns:
        The `<svg>` element, the same for the same figure.
    """
    import matplotlib

    for axes in figure.axes:
        if axes.get_facecolor() == (1.0, 1.0, 1.0, 1.0):
            axes.set_facecolor("none")
    buffer = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", facecolor="none", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # names of groups, repeated in every figure
    text = re.sub(r"<!--.*?-->\s*", "", text)
    text = re.sub(r'(style="[^"]*")', lambda match: _themed(match[0]), text)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", re.sub(r'height="[\d.]+pt" ', "", text, count=1), count=1)


def _themed(style: str) -> str:
    return re.sub("|".join(_THEME), lambda match: _THEME[match[0]], style)


def curves(name: str, splits: Mapping[str, Curve]) -> str:
    """One metric over the steps: every seed thin, the mean over seeds thick, one colour a split.

    Args:
        name: Name of the metric.
        splits: Its curves by split.

    Returns:
        An SVG element.
    """

    def draw(axes: "Axes") -> None:
        for (split, curve), color in zip(splits.items(), itertools.cycle(SERIES), strict=False):
            _line(axes, curve, split, color, thin=True)

    return _plot(name, draw, list(splits.values()))


def overlaid(name: str, runs: Mapping[str, Curve], colors: Mapping[str, str]) -> str:
    """One metric of several runs over the steps: the mean over seeds, with a band from lowest to highest seed.

    Args:
        name: Split and name of the metric.
        runs: The curve of each run that has it, by the run's name.
        colors: Colour of each run, by its name.

    Returns:
        An SVG element.
    """

    def draw(axes: "Axes") -> None:
        for label, curve in runs.items():
            _line(axes, curve, label, colors[label], thin=False)

    return _plot(name, draw, list(runs.values()))


def _line(axes: "Axes", curve: Curve, label: str, color: str, *, thin: bool) -> None:
    marker: dict[str, Any] = {"marker": "o", "markersize": 4} if len(curve.steps) < 12 else {}
    axes.plot(curve.steps, curve.values.mean(axis=1), color=color, linewidth=1.8, label=_plain(label), **marker)
    if curve.values.shape[1] > 1 and thin:
        axes.plot(curve.steps, curve.values, color=color, linewidth=0.7, alpha=0.35)
    elif curve.values.shape[1] > 1:
        low, high = curve.values.min(axis=1), curve.values.max(axis=1)
        axes.fill_between(curve.steps, low, high, color=color, alpha=0.15, linewidth=0)


def _plot(name: str, draw: Any, curves: Sequence[Curve]) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 3.0))
        axes = figure.add_subplot()
        draw(axes)
        values = np.concatenate([curve.values.ravel() for curve in curves])
        if values.size and values.min() > 0 and values.max() / values.min() > 50:
            axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_title(_plain(name), loc="left", fontsize=10, fontweight="bold")
        axes.legend(loc="best", fontsize=8)
        return to_svg(figure, f"curve {name}")


def _plain(text: str) -> str:
    """A name as text: a dollar sign would start mathematics."""
    return text.replace("$", r"\$")
