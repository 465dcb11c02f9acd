"""What a mapping leaves out is taken from the experiment's own default for that field.

A class's defaults are not enough: where an experiment says `model: Mlp = Mlp(width=64)`, a config that states
only `model: {depth: 3}` means that model with another depth, not the class's own width.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from chainlab.lab.config import shape

_TAGS = ("kind", "name")  # a mapping that states another one is another thing, whose keys differ


def fill(kind: Any, data: Any) -> Any:
    """Plain data with every partly stated mapping completed from the default of its field.

    Args:
        kind: The type that the data is meant for.
        data: The data, as it stands in the file.

    Returns:
        The completed data; what is wrong in it stays so.
    """
    if isinstance(data, list):
        return [fill(shape.inside(kind, index, data), item) for index, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    cls = shape.chosen(kind, data)
    filled: dict[str, Any] = {}
    for key, value in data.items():
        default = _default(cls, key)
        if isinstance(value, dict) and shape.is_config(type(default)):
            value = _complete(plain(default), value)
        filled[key] = fill(shape.inside(kind, key, data), value)
    return filled


def plain(value: Any) -> Any:
    """A config as plain data."""
    return shape.adapter(type(value)).dump_python(value, mode="json")


def _default(cls: type | None, key: str) -> Any:
    if cls is None or not dataclasses.is_dataclass(cls):
        return None
    found = next((item for item in dataclasses.fields(cls) if item.name == key), None)
    if found is None:
        return None
    return found.default_factory() if found.default_factory is not dataclasses.MISSING else found.default


def _complete(default: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    if any(tag in data and tag in default and data[tag] != default[tag] for tag in _TAGS):
        return data
    completed = {**default, **data}
    for key, value in data.items():
        if isinstance(value, dict) and isinstance(default.get(key), dict):
            completed[key] = _complete(default[key], value)
    return completed
