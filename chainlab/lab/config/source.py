"""YAML 1.2 text as a tree of values that remember where they stand.

Built from PyYAML's event stream rather than its constructors: nothing is instantiated, every key and value
keeps its line and column, and the limits on depth and alias expansion hold before anything is expanded.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000

_PREFIX = "tag:yaml.org,2002:"
_CORE_SCHEMA = {  # YAML 1.2.2, section 10.3.2
    "null": re.compile(r"(?:null|Null|NULL|~|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, counted from 1; an override has a name and no line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(slots=True, eq=False)
class Node:
    """A value and where it stands.

    Attributes:
        value: A scalar, a list of nodes or a mapping of nodes.
        mark: Where the value starts.
        keys: Where each key of a mapping stands.
        size: Nodes below and including this one, aliases expanded.
    """

    value: "Scalar | list[Node] | dict[str, Node]"
    mark: Mark
    keys: dict[str, Mark] = field(default_factory=dict[str, Mark])
    size: int = 1

    def plain(self) -> Any:
        """The value without its marks."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, path: tuple[str | int, ...]) -> Mark:
        """Where the value at a path stands: the value itself, or its key where the value starts further down.

        A path that leads nowhere gives the place of the deepest part that is there.
        """
        node, mark = self, self.mark
        for part in path:
            if isinstance(node.value, dict) and part in node.value:
                key = node.keys[str(part)]
                node = node.value[str(part)]
                mark = node.mark if (node.mark.file, node.mark.line) == (key.file, key.line) else key
            elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                mark = node.mark
            else:
                break
        return mark

    def key(self, path: tuple[str | int, ...]) -> Mark:
        """Where the key at the end of a path stands."""
        node = self
        for part in path[:-1]:
            inner = node.value[part] if isinstance(node.value, list) and isinstance(part, int) else None
            inner = node.value.get(str(part)) if isinstance(node.value, dict) else inner
            if inner is None:
                return self.at(path)
            node = inner
        return node.keys.get(str(path[-1])) or self.at(path)


class SourceError(Exception):
    """The text is not YAML that a config may be."""

    def __init__(self, mark: Mark, text: str) -> None:
        self.mark, self.text = mark, text
        super().__init__(f"{mark}: {text}")


def parse(text: str, name: str, problems: list[str]) -> Node:
    """Read one YAML document.

    Args:
        text: The document.
        name: What marks call the file.
        problems: Takes the mistakes that let reading go on, such as duplicate keys.

    Returns:
        The root; a null scalar for an empty document.

    Raises:
        SourceError: The text is not one well-formed document within the limits.

    Example:
        >>> parse("{rate: 1e-3, flag: no, count: 010}", "a.yaml", []).plain()
        {'rate': 0.001, 'flag': 'no', 'count': 10}
    """
    try:
        return _Composer(text, name, problems).document()
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(name, at.line + 1, at.column + 1) if at else Mark(name, 1, 1)
        what = error.problem or error.context or "not YAML"
        tab = at is not None and "".join(text.split("\n")[at.line : at.line + 1])[at.column : at.column + 1] == "\t"
        hint = "; YAML indents with spaces, never with tabs" if tab else ""
        raise SourceError(mark, f"not valid YAML: {what}{hint}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line = before.count("\n") + 1
        mark = Mark(name, line, len(before) - before.rfind("\n"))
        raise SourceError(mark, f"not valid YAML: the character U+{_code(error):04X} is not allowed") from None


def _code(error: yaml.reader.ReaderError) -> int:
    character: Any = error.character
    return character if isinstance(character, int) else ord(character)


class _Composer:
    def __init__(self, text: str, name: str, problems: list[str]) -> None:
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=loader))
        self._name = name
        self._problems = problems
        self._anchors: dict[str, Node | None] = {}

    def document(self) -> Node:
        root = Node(None, Mark(self._name, 1, 1))
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "a second document starts here, wanted one document a file")
            elif not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent):
                root = self._node(event, 0)
        return root

    def _mark(self, event: Any) -> Mark:
        return Mark(self._name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _error(self, event: Any, what: str) -> SourceError:
        return SourceError(self._mark(event), what)

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(event, f"alias '*{event.anchor}' has no anchor before it")
            known = self._anchors[event.anchor]
            if known is None:
                raise self._error(event, f"alias '*{event.anchor}' stands inside its own anchor")
            return known
        if depth > MAX_DEPTH:
            raise self._error(event, f"nested more than {MAX_DEPTH} levels deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event), self._mark(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _grow(self, node: Node, child: Node, event: Any) -> None:
        node.size += child.size
        if node.size > MAX_NODES:
            raise self._error(event, f"more than {MAX_NODES} values, aliases expanded")

    def _sequence(self, event: Any, depth: int) -> Node:
        self._untagged(event, "seq")
        items: list[Node] = []
        node = Node(items, self._mark(event))
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
            self._grow(node, items[-1], event)
        return node

    def _mapping(self, event: Any, depth: int) -> Node:
        self._untagged(event, "map")
        entries: dict[str, Node] = {}
        node = Node(entries, self._mark(event))
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(event, "got a list, a mapping or an alias as a key, wanted text")
            key, mark = event.value, self._mark(event)
            if key == "<<" and event.implicit[0]:
                raise self._error(event, "merge keys are not YAML 1.2: inherit with `base:`")
            child = self._node(next(self._events), depth + 1)
            self._grow(node, child, event)
            if key in entries:
                self._problems.append(f"{mark}: duplicate key {key!r}, first at line {node.keys[key].line}")
            else:
                entries[key], node.keys[key] = child, mark
        return node

    def _untagged(self, event: Any, wanted: str) -> None:
        if event.tag not in (None, "!", _PREFIX + wanted):
            raise self._error(event, f"tag {event.tag!r} is not read: a config is plain data")

    def _scalar(self, event: Any) -> Scalar:
        text: str = event.value
        if event.implicit[0]:
            kind = next((name for name, pattern in _CORE_SCHEMA.items() if pattern.match(text)), "str")
        elif event.implicit[1] or event.tag == "!":
            kind = "str"
        else:
            kind = event.tag.removeprefix(_PREFIX)
            if kind != "str" and not (kind in _CORE_SCHEMA and _CORE_SCHEMA[kind].match(text)):
                raise self._error(event, f"tag {event.tag!r} is not read for {text!r}: a config is plain data")
        try:
            return _scalar(kind, text)
        except (ValueError, OverflowError):
            raise self._error(event, f"the number {text[:20]} does not fit") from None


def _scalar(kind: str, text: str) -> Scalar:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        case "float":
            value = float(re.sub(r"\.(?=[in])", "", text.lower()))
            if math.isinf(value) and "inf" not in text.lower():
                raise OverflowError
            return value
        case _:
            return text


class Dumper(yaml.SafeDumper):
    """Writes what YAML 1.2 and 1.1 readers read alike: text that either would take for a number is quoted."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012
        **yaml.SafeDumper.yaml_implicit_resolvers,
        None: [(_PREFIX + name, pattern) for name, pattern in _CORE_SCHEMA.items()],
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Never write anchors."""
        return True


def _text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    """Text; the separators of lines beyond ASCII are escaped, since plain and single quotes fold them."""
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar(_PREFIX + "str", text, style)


Dumper.add_representer(str, _text)


def dump(values: Any) -> str:
    """Write plain data as block-style YAML 1.2.

    Example:
        >>> print(dump({"rate": 1e-5, "text": "1e-5"}), end="")
        rate: 1.0e-05
        text: '1e-5'
    """
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
