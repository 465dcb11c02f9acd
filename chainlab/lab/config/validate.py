"""Validation of a marked tree against a config class: every mistake, each with its place and a suggestion."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chainlab.errors import suggest
from chainlab.lab.config import shape
from chainlab.lab.config.source import Mark, Node

_Config = TypeVar("_Config")
_Path = tuple[str | int, ...]

_TYPES = {  # pydantic's error type -> what was wanted there
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "a smaller integer",
    "float_type": "a number",
    "string_type": "text",
    "path_type": "text",
    "bool_type": "true or false",
    "none_required": "null",
    "dataclass_type": "a mapping",
    "model_type": "a mapping",
    "dataclass_exact_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "finite_number": "a finite number",
}
_RANGES = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}


@dataclass(frozen=True)
class Problem:
    """A mistake and its place."""

    mark: Mark
    path: _Path
    text: str

    def __str__(self) -> str:
        where = ".".join(map(str, self.path))
        return f"{self.mark}: {where}: {self.text}" if where else f"{self.mark}: {self.text}"


def validate(
    kind: type[_Config], root: Node, data: Any, *, also: Iterable[str] = ()
) -> tuple[_Config | None, list[Problem]]:
    """Check plain data against a config class, strictly.

    Args:
        kind: The class.
        root: The tree that `data` came from, for the marks.
        data: The data.
        also: Keys that may stand at the top besides the fields of `kind`, for suggestions.

    Returns:
        The config, or None with every mistake.
    """
    from pydantic import ValidationError

    try:
        # JSON mode: a list is a tuple and an integer a float, while text is never a number
        return shape.adapter(kind).validate_json(json.dumps(data)), []
    except ValidationError as error:
        found = error.errors(include_url=False)
    grouped: dict[_Path, list[dict[str, Any]]] = {}
    for item in found:
        path, relevant = _path(kind, item["loc"], data, missing=item["type"] == "missing")
        if relevant:
            grouped.setdefault(path, []).append(dict(item))
    return None, [
        problem for path, items in grouped.items() for problem in _problems(kind, root, data, path, items, tuple(also))
    ]


def deepen(kind: Any, root: Node, data: Any, path: _Path = ()) -> Iterable[Problem]:
    """Mistakes that config classes find in their own data by `mistakes(data)`, which may import JAX."""
    cls = shape.chosen(kind, data)
    mistakes = getattr(cls, "mistakes", None)
    if isinstance(data, dict) and mistakes is not None:
        for mistake in mistakes(data):
            place = (*path, *mistake.path)
            yield Problem(root.key(place) if mistake.key else root.at(place), place, mistake.text)
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for part, item in items:
        yield from deepen(shape.inside(kind, part, data), root, item, (*path, part))


def _path(kind: Any, location: Sequence[str | int], data: Any, *, missing: bool) -> tuple[_Path, bool]:
    """The part of pydantic's location that the data has, and whether the error is of the union's chosen class."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        present, item = _item(data, part)
        if present:
            kind, data = shape.inside(kind, part, data), item
            path.append(part)
        elif missing and index == len(location) - 1:
            path.append(part)
        elif isinstance(data, dict) and shape.classes(kind):  # a union's tag
            chosen = shape.chosen(kind, data)
            if len(shape.members(kind)) > 1 and chosen is None:
                return tuple(path), True  # no class is meant: one problem at the union itself
            if chosen is not None and part != chosen.__name__:
                return tuple(path), False
    return tuple(path), True


def _at(kind: Any, data: Any, path: _Path) -> tuple[Any, Any]:
    for part in path:
        kind, data = shape.inside(kind, part, data), _item(data, part)[1]
    return kind, data


def _item(data: Any, part: str | int) -> tuple[bool, Any]:
    try:
        return True, data[part]
    except (TypeError, LookupError):
        return False, None


def _problems(
    kind: Any, root: Node, data: Any, path: _Path, items: list[dict[str, Any]], also: tuple[str, ...]
) -> Iterable[Problem]:
    here, got = _at(kind, data, path)
    if isinstance(got, dict) and len(shape.classes(here)) > 1 and shape.chosen(here, got) is None:
        tags = [tag for cls in shape.classes(here) for tag in shape.kinds(cls)]
        place = (*path, "kind")
        if "kind" not in got:
            yield Problem(root.at(path), place, f"missing key, wanted {_either(map(repr, tags))}")
        else:
            text = f"unknown value, got {show(got['kind'])}, wanted {_either(map(repr, tags))}"
            yield Problem(root.at(place), place, text + suggest(got["kind"], tags))
        return
    first = items[0]
    match first["type"]:
        case "missing":
            yield Problem(root.at(path[:-1]), path, f"missing key, wanted {shape.describe(here)}")
        case "unexpected_keyword_argument" | "extra_forbidden":
            parent, _ = _at(kind, data, path[:-1])
            cls = shape.chosen(parent, _at(kind, data, path[:-1])[1])
            known = [*(shape.fields(cls) if cls else ()), *(also if len(path) == 1 else ())]
            yield Problem(
                root.key(path), path, "unknown key" + (suggest(path[-1], known) or f", wanted {_either(known)}")
            )
        case _ if all(item["type"] in _TYPES or item["type"] == "literal_error" for item in items):
            values = shape.choices(here)
            wanted = [_TYPES[item["type"]] for item in items if item["type"] in _TYPES]
            wanted += map(repr, values) if len(wanted) < len(items) else ()
            what = "wrong type" if len(wanted) > len(values) else "unknown value"
            hint = suggest(got, values) or _rewrite(got, wanted)
            yield Problem(root.at(path), path, f"{what}, got {show(got)}, wanted {_either(wanted)}{hint}")
        case _:
            for text in dict.fromkeys(_text(item, got) for item in items if item["type"] not in _TYPES):
                yield Problem(root.at(path), path, text)


def _text(item: dict[str, Any], got: Any) -> str:
    context = item.get("ctx", {})
    if item["type"] in _RANGES:
        return f"out of range, got {show(got)}, wanted {_RANGES[item['type']].format(**context)}"
    if item["type"] == "value_error":
        return str(context["error"])
    return f"{item['msg'][:1].lower()}{item['msg'][1:]}, got {show(got)}"


def show(value: Any) -> str:
    """A value as messages write it."""
    match value:
        case None | bool():
            return json.dumps(value)
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "...")
        case _:
            return repr(value)


def _rewrite(got: Any, wanted: list[str]) -> str:
    if not isinstance(got, str):
        return ""
    if "true or false" in wanted and got.lower() in ("yes", "on", "y", "no", "off", "n"):
        return f", did you mean {'true' if got.lower() in ('yes', 'on', 'y') else 'false'}?"
    if {"an integer", "a number"} & set(wanted):
        try:
            float(got)
        except ValueError:
            return ""
        return f", did you mean {got.replace('_', '')} (without quotes)?" if got.strip() == got else ""
    return ""


def _either(words: Iterable[str]) -> str:
    unique = list(dict.fromkeys(words))
    return ", ".join(unique[:-1]) + " or " + unique[-1] if len(unique) > 1 else "".join(unique)
