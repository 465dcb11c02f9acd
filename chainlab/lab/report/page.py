"""The report of a run: one HTML file that needs nothing else."""

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainlab import __version__
from chainlab.lab.report.figure import curves
from chainlab.lab.report.panels import load_panels
from chainlab.lab.report.statistics import summarize
from chainlab.lab.runs import RunFolder, read

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def write(folder: Path, path: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        folder: The run folder; the run may still be going on, or have failed.
        path: The file to write; `report.html` in the run folder by default.

    Returns:
        The file.

    Raises:
        UsageError: The folder holds no readable run.
    """
    run = read(folder)
    page = render(
        "run.html.jinja",
        run=run,
        summary=run.summary,
        many=len(run.seeds) > 1,
        tiles=_tiles(run.summary),
        results=[(name, summarize(run.final[name]), run.final[name]) for name in sorted(run.final, key=order)],
        curves=[(name, curves(name, splits)) for name, splits in run.curves.items()],
        panels=load_panels(folder),
        config=run.config.strip(),
        provenance=list(provenance(run)),
    )
    return save(page, path or folder / "report.html")


def save(page: str, path: Path) -> Path:
    """Write a page whole or not at all.

    Args:
        page: The page.
        path: The file.

    Returns:
        The file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8")
    return temporary.replace(path)


def render(template: str, **values: Any) -> str:
    """Fill a template; every value is text, never markup, unless the template says `drawing`.

    Args:
        template: Name of the template.
        values: What it speaks of.

    Returns:
        The page.
    """
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader
    from markupsafe import Markup

    folder = files("chainlab.lab.report") / "templates"
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.filters["drawing"] = Markup  # matplotlib's own SVG, whose text it escaped
    environment.filters["embedded"] = embedded
    return environment


def cell(value: Any) -> str:
    """A value as a table shows it: numbers to four significant digits.

    Args:
        value: Any plain value.

    Returns:
        The text.

    Example:
        >>> cell(0.123456), cell(12), cell(None), cell(True)
        ('0.1235', '12', '–', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def embedded(data: Any) -> "Markup":
    r"""Plain data as JSON that cannot end the script element it stands in, whatever names it holds.

    Args:
        data: The data; every number is finite.

    Returns:
        The JSON.

    Example:
        >>> print(embedded(["</script>"]))
        ["\u003c/script\u003e"]
    """
    from markupsafe import Markup

    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def duration(seconds: float | int) -> str:
    """A time span in words.

    Args:
        seconds: Its length.

    Returns:
        The text.

    Example:
        >>> duration(4.21), duration(75), duration(7300)
        ('4.21 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def order(metric: str) -> tuple[int, str]:
    """Key to sort metrics by: test results first, training metrics last.

    Args:
        metric: `split/name`.

    Returns:
        The key.
    """
    split = metric.partition("/")[0]
    return {"test": 0, "validation": 1, "train": 3}.get(split, 2), metric


def _tiles(summary: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    shown = {
        "seeds": ("Seeds", lambda seeds: str(len(seeds))),
        "parameters": ("Parameters", lambda count: f"{count:,}"),
        "steps": ("Steps", lambda steps: f"{steps:,}"),
        "seconds": ("Training", duration),
        "compile_seconds": ("Compiling", duration),
        "steps_per_second": ("Steps a second", lambda rate: f"{rate:,.0f}" if rate >= 10 else f"{rate:.3g}"),
        "peak_memory_mib": ("Peak memory", lambda mib: f"{mib:,.0f} MiB"),
    }
    return [(name, show(summary[key])) for key, (name, show) in shown.items() if summary.get(key) is not None]


def provenance(run: RunFolder) -> Iterable[tuple[str, str]]:
    """What a run's results depend on beside its config, in words.

    Args:
        run: The run.

    Yields:
        Names and values.
    """
    summary = run.summary
    for key, name in (
        ("started", "Started"),
        ("ended", "Ended"),
        ("config_hash", "Config hash"),
        ("platform", "Platform"),
        ("cores", "Cores"),
        ("xla_flags", "XLA flags"),
        ("settings", "Settings outside the program"),
        ("cache_hits", "Compile cache hits"),
    ):
        if summary.get(key) not in (None, ""):
            yield name, str(summary[key])
    if devices := summary.get("devices"):
        yield "Devices", ", ".join(f"{devices.count(kind)} × {kind}" for kind in dict.fromkeys(devices))
    if git := summary.get("git"):
        yield "Code", f"git {git.get('commit')}{' with uncommitted changes' if git.get('dirty') else ''}"
    if versions := summary.get("versions"):
        yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    for key, value in (summary.get("data") or {}).items():
        if value:
            yield f"Data: {key}", str(value)
