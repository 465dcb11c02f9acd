"""What an experiment's config may hold: a JSON Schema for editors, and a full YAML with comments for people."""

import dataclasses
import inspect
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from chainlab.lab.config import shape
from chainlab.lab.config.defaults import plain
from chainlab.lab.config.envelope import Envelope
from chainlab.lab.config.reference import Experiment
from chainlab.lab.config.source import dump

_WIDTH = 100


def schema(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """The JSON Schema of the configs of some experiments, with the fields' docstrings.

    What a config must hold is not in it: a `base:` or the experiment's own defaults may complete any mapping.

    Args:
        experiments: The experiments; with several, `experiment:` says which one's keys hold.

    Returns:
        The schema, draft 2020-12.
    """
    from pydantic import TypeAdapter

    kinds: list[tuple[str, Any, TypeAdapter[Any]]] = [("", "validation", TypeAdapter(Envelope))]
    kinds += [(found.reference, "validation", TypeAdapter(found.config_type)) for found in experiments]
    references, shared = TypeAdapter.json_schemas(kinds)
    definitions: dict[str, Any] = shared.get("$defs", {})
    for definition in definitions.values():
        definition.pop("required", None)

    def properties(name: str) -> dict[str, Any]:
        reference = references[name, "validation"]
        definition = definitions[reference["$ref"].rpartition("/")[2]] if "$ref" in reference else reference
        return definition.get("properties", {})

    def one(found: Experiment) -> dict[str, Any]:
        common = properties("")
        stated = {**common["experiment"], **({"const": found.reference} if len(experiments) > 1 else {})}
        return {
            "title": f"a config of the experiment {found.name}",
            "description": _meaning(found.config_type),
            "type": "object",
            "properties": {**common, "experiment": stated, **properties(found.reference)},
            "additionalProperties": False,
        }

    objects = [one(found) for found in experiments]
    for name in {reference.get("$ref", "").rpartition("/")[2] for reference in references.values()}:
        others = [definition for other, definition in definitions.items() if other != name]
        if f'#/$defs/{name}"' not in json.dumps([objects, others]):
            definitions.pop(name, None)
    body = objects[0] if len(objects) == 1 else {"title": "a chainlab config", "anyOf": objects}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "$defs": definitions}


def commented(experiment: Experiment, reference: str | None = None) -> str:
    """A full config of an experiment: every key with its default and, as a comment, its meaning and type.

    Args:
        experiment: The experiment.
        reference: What to write after `experiment:`; its own reference by default.

    Returns:
        YAML that loads back to the experiment's defaults; a key without a default stands as a comment.
    """
    named = Envelope(experiment=reference or experiment.reference)
    title = inspect.getdoc(experiment.function) or _meaning(experiment.config_type) or experiment.name
    lines = _comment(title.splitlines()[0], 0)
    lines += ["", f"experiment: {dump(named.experiment).splitlines()[0]}", ""]
    lines += _fields(experiment.config_type, _defaults(experiment.config_type), 0)
    lines += ["", *_comment("The keys below are those of every experiment.", 0), ""]
    lines += _fields(Envelope, {key: value for key, value in plain(named).items() if key != "experiment"}, 0)
    return "\n".join(lines) + "\n"


def _defaults(cls: type) -> dict[str, Any]:
    """The defaults of a class as plain data, without the keys that have none."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        if item.default is not dataclasses.MISSING:
            found[item.name] = item.default
        elif item.default_factory is not dataclasses.MISSING:
            found[item.name] = item.default_factory()
    from pydantic import TypeAdapter

    kinds = shape.fields(cls)
    return {name: TypeAdapter(kinds[name]).dump_python(value, mode="json") for name, value in found.items()}


def _meaning(cls: type) -> str:
    written = cls.__doc__ or ""
    return "" if written.startswith(f"{cls.__name__}(") else inspect.cleandoc(written)  # a dataclass writes its own


def _documentation(cls: type) -> Mapping[str, str]:
    from pydantic import TypeAdapter

    found = TypeAdapter(cls).json_schema()
    if "$ref" in found:
        found = found["$defs"][found["$ref"].rpartition("/")[2]]
    return {name: entry.get("description", "") for name, entry in found.get("properties", {}).items()}


def _fields(cls: type, values: Mapping[str, Any], depth: int) -> list[str]:
    documentation, kinds = _documentation(cls), shape.fields(cls)
    missing = [name for name in kinds if name not in values and name != "experiment"]
    lines: list[str] = []
    for name in [*missing, *values]:
        kind = kinds.get(name, Any)
        meaning = " ".join(documentation.get(name, "").split())
        if name in missing:
            lines += _comment(f"{meaning} Required: {shape.describe(kind)}.".strip(), depth)
            lines.append("  " * depth + f"# {name}:")
            continue
        value = values[name]
        inner = shape.chosen(kind, value) if isinstance(value, dict) else None
        if inner is not None:
            lines += [*_comment(meaning, depth), "  " * depth + f"{name}:", *_fields(inner, value, depth + 1)]
        else:
            wanted = f"({shape.describe(kind)})" if name in kinds else ""
            lines += _comment(f"{meaning} {wanted}".strip(), depth)
            lines += textwrap.indent(dump({name: value}).rstrip("\n"), "  " * depth).split("\n")
    return lines


def _comment(text: str, depth: int) -> list[str]:
    prefix = "  " * depth + "# "
    return textwrap.wrap(text, _WIDTH, initial_indent=prefix, subsequent_indent=prefix)
