"""Filters over runs: `experiment=spiking`, `metrics.accuracy>0.9`, `optimizer.learning_rate<=1e-3`."""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chainlab.errors import UsageError, suggest
from chainlab.lab.report.page import order
from chainlab.lab.rows import Row

_FORM = re.compile(r"([^=!<>~]+)(>=|<=|!=|=|>|<|~)(.*)", re.DOTALL)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Filter:
    """One condition on a run.

    Attributes:
        key: What it looks at.
        sign: `=`, `!=`, `<`, `<=`, `>`, `>=`, or `~` for text that is contained in other text.
        value: What it compares with; `*` stands for any text after `=` and `!=`.
    """

    key: str
    sign: str
    value: str

    def matches(self, row: Row) -> bool:
        """Whether a run meets the condition; one that has no such value meets none.

        Example:
            >>> parse("metrics.accuracy>0.9").matches({"metrics.test/accuracy": 0.95})
            True
        """
        key = resolve(self.key, row)
        return key is not None and row[key] is not None and self._holds(row[key])

    def _holds(self, got: Any) -> bool:
        text = _text(got)
        if self.sign == "~":
            return self.value.lower() in text.lower()
        wanted, have = _number(self.value), _number(text)
        if self.sign in _ORDER:
            return wanted is not None and have is not None and _ORDER[self.sign](have, wanted)
        if wanted is not None and have is not None:
            same = have == wanted
        else:
            same = re.fullmatch(".*".join(map(re.escape, self.value.split("*"))), text, re.DOTALL) is not None
        return same == (self.sign == "=")


def _text(value: Any) -> str:
    """A value as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def parse(text: str) -> Filter:
    """Read a filter.

    Args:
        text: `key`, a sign and a value, such as `seconds<60`.

    Returns:
        The filter.

    Raises:
        UsageError: The text is no filter.

    Example:
        >>> parse("metrics.accuracy >= 0.9")
        Filter(key='metrics.accuracy', sign='>=', value='0.9')
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no filter: wanted KEY=VALUE, with =, !=, <, <=, >, >= or ~ (contains)")
    key, sign, value = (part.strip() for part in match.groups())
    if sign in _ORDER and _number(value) is None:
        raise UsageError(f"{text!r}: {sign} compares numbers, got {value!r}")
    return Filter(key, sign, value)


def resolve(key: str, keys: Iterable[str]) -> str | None:
    """The full key that a short one means.

    Args:
        key: A full key; a metric with or without `metrics.` and its split; or a key of the config.
        keys: The full keys that there are.

    Returns:
        The full key, or None where there is none. Test results come before those of other splits.

    Example:
        >>> resolve("accuracy", ["metrics.train/accuracy", "metrics.test/accuracy"])
        'metrics.test/accuracy'
        >>> resolve("optimizer.name", ["config.optimizer.name"])
        'config.optimizer.name'
    """
    keys = keys if isinstance(keys, dict) else dict.fromkeys(keys)
    for full in (key, f"config.{key}", f"metrics.{key}"):
        if full in keys:
            return full
    short = "/" + key.removeprefix("metrics.")
    found = [full.removeprefix("metrics.") for full in keys if full.startswith("metrics.") and full.endswith(short)]
    return "metrics." + min(found, key=order) if found else None


def select(rows: Sequence[Row], filters: Sequence[str]) -> list[Row]:
    """The runs that meet every filter.

    Args:
        rows: The runs.
        filters: The filters, as text.

    Returns:
        The runs that are left.

    Raises:
        UsageError: A filter cannot be read, or looks at something that no run has.
    """
    parsed = [parse(text) for text in filters]
    for each in parsed:
        require(each.key, rows)
    return [row for row in rows if all(each.matches(row) for each in parsed)]


def require(key: str, rows: Sequence[Row]) -> None:
    """Refuse a key that no run has.

    Args:
        key: The key.
        rows: The runs; nothing is refused where there are none.

    Raises:
        UsageError: No run has it.
    """
    if rows and all(resolve(key, row) is None for row in rows):
        known = dict.fromkeys(full for row in rows for full in row)
        short = [full.split(".", 1)[-1] for full in known]
        raise UsageError(f"no run has {key!r}{suggest(key, [*known, *short])} (`chainlab list --keys` lists the keys)")


def sort_rows(rows: Sequence[Row], key: str) -> list[Row]:
    """Runs by a key: numbers by size, then text by the alphabet, then runs that have no such value.

    Args:
        rows: The runs.
        key: The key; `-key` puts the largest first.

    Returns:
        The runs in order.

    Example:
        >>> [row["seconds"] for row in sort_rows([{"seconds": 2.0}, {"seconds": 10.0}], "-seconds")]
        [10.0, 2.0]
    """
    name, down = key.removeprefix("-"), key.startswith("-")

    def value(row: Row) -> Any:
        full = resolve(name, row)
        return None if full is None else row[full]

    having = [row for row in rows if value(row) is not None]
    numbers = sorted((row for row in having if not isinstance(value(row), str)), key=value, reverse=down)
    texts = sorted((row for row in having if isinstance(value(row), str)), key=value, reverse=down)
    return [*numbers, *texts, *(row for row in rows if value(row) is None)]
