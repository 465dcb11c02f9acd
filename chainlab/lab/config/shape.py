"""The type that stands at a path of a config: which keys and values would be right there."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def bare(kind: Any) -> Any:
    """A type without its `Annotated` metadata."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the type alone."""
    kind = bare(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(leaf for member in get_args(kind) for leaf in members(member))
    return (kind,)


@functools.cache
def fields(cls: type) -> Mapping[str, Any]:
    """The types of a config class's fields, by name."""
    if hasattr(cls, "model_fields"):
        return {name: field.annotation for name, field in cls.model_fields.items()}
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


@functools.cache
def adapter(kind: type) -> "TypeAdapter[Any]":
    """Pydantic's view of a config class; building it costs more than reading a config."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def is_config(kind: Any) -> bool:
    """Whether a type is a class of fields: a dataclass, or a pydantic model for one that takes further keys."""
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "model_fields"))


def closed(cls: type) -> bool:
    """Whether a config class refuses keys that are not its fields."""
    return not hasattr(cls, "model_fields") or getattr(cls, "model_config", {}).get("extra") == "forbid"


def classes(kind: Any) -> list[type]:
    """The config classes among the alternatives of a type."""
    return [member for member in members(kind) if is_config(member)]


def kinds(cls: type) -> tuple[Any, ...]:
    """The values of `kind` that pick a class out of a union; empty where it has no such field."""
    tag = bare(fields(cls).get("kind"))
    return get_args(tag) if get_origin(tag) is Literal else ()


def chosen(kind: Any, data: Any) -> type | None:
    """The config class that a mapping is meant for: the only one, or the one that its `kind` picks."""
    candidates = classes(kind)
    if len(candidates) > 1 and isinstance(data, dict):
        candidates = [cls for cls in candidates if data.get("kind") in kinds(cls)]
    return candidates[0] if len(candidates) == 1 else None


def inside(kind: Any, part: str | int, data: Any) -> Any:
    """The type of one item of a value, or None where nothing is known."""
    cls = chosen(kind, data)
    if cls is not None and isinstance(part, str):
        return fields(cls).get(part)
    for member in members(kind):
        origin, arguments = get_origin(member), get_args(member)
        if isinstance(part, str) and origin in (dict, Mapping) and len(arguments) == 2:
            return arguments[1]
        if isinstance(part, int) and origin in (tuple, list, Sequence) and arguments:
            fixed = origin is tuple and arguments[-1] is not Ellipsis
            return arguments[part] if fixed and part < len(arguments) else arguments[0]
    return None


def choices(kind: Any) -> list[Any]:
    """The values that the `Literal` alternatives of a type allow."""
    return [value for member in members(kind) if get_origin(member) is Literal for value in get_args(member)]


def describe(kind: Any) -> str:
    """A type in words, with its bounds.

    Example:
        >>> describe(int | None)
        'an integer or null'
        >>> from annotated_types import Gt
        >>> describe(Annotated[float, Gt(0)])
        'a number > 0'
    """
    inner = bare(kind)
    if get_origin(inner) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(member) for member in get_args(inner)))
    bounds = [text for item in getattr(kind, "__metadata__", ()) if (text := _bound(item))]
    return " ".join([_describe(inner), " and ".join(bounds)]).strip()


def _bound(item: Any) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [f"{sign} {getattr(item, name)}" for name, sign in signs.items() if getattr(item, name, None) is not None]
    if getattr(item, "min_length", 0):
        found.append(f"of at least {item.min_length}")
    return " and ".join(found)


def _describe(kind: Any) -> str:
    words = {int: "an integer", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if kind in words:
        return words[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (tuple, list, Sequence):
        return "a list"
    if origin in (dict, Mapping) or is_config(kind):
        return "a mapping"
    return "a value"
