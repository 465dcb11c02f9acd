"""A config file with what it inherits and the overrides of the command line, as one marked tree."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chainlab.lab.config.locate import packaged
from chainlab.lab.config.source import MAX_BYTES, Mark, Node, SourceError, parse


def shown(path: Path) -> str:
    """A path as messages write it: relative to the current folder where it lies inside."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(path)


def compose(path: Path, overrides: Sequence[str], problems: list[str]) -> Node:
    """Read a file, merge it into its base, and apply overrides.

    Args:
        path: The config file.
        overrides: `a.b=value`, the value in YAML.
        problems: Takes the mistakes that let reading go on.

    Returns:
        The merged tree; every mark still points at the file, or the override, that states the value.

    Raises:
        SourceError: A file cannot be read at all.
    """
    root = _inherit(path, (), problems)
    for override in overrides:
        try:
            _override(root, override, problems)
        except SourceError as error:
            problems.append(str(error))
    return root


def _read(path: Path, problems: list[str]) -> Node:
    name = shown(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SourceError(Mark(name, 1, 1), f"the file has {size} bytes, wanted at most {MAX_BYTES}")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(Mark(name, 1, 1), f"cannot be read: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(Mark(name, line, 1), f"not UTF-8 text: byte 0x{content[error.start]:02x}") from None
    root = parse(text, name, problems)
    if root.value is None:
        raise SourceError(root.mark, "the file is empty, wanted a mapping with `experiment:`")
    if not isinstance(root.value, dict):
        got = "a list" if isinstance(root.value, list) else repr(root.value)
        raise SourceError(root.mark, f"got {got} at the top, wanted a mapping with `experiment:`")
    return root


def _inherit(path: Path, chain: tuple[Path, ...], problems: list[str]) -> Node:
    root = _read(path, problems)
    chain = (*chain, path.resolve())
    assert isinstance(root.value, dict)
    stated = root.value.pop("base", None)
    if stated is None or stated.value is None:
        return root
    if not isinstance(stated.value, str):
        raise SourceError(stated.mark, "base: got a value that is not text, wanted the path of one file to inherit")
    base = _find_base(stated.value, path)
    if base is None:
        raise SourceError(
            stated.mark, f"base: no file {stated.value!r} beside {shown(path)} and no packaged config of that name"
        )
    if base.resolve() in chain:
        circle = " -> ".join(shown(link) for link in (*chain[chain.index(base.resolve()) :], base))
        raise SourceError(stated.mark, f"base: a config cannot inherit from itself: {circle}")
    return _merge(_inherit(base, chain, problems), root)


def _find_base(name: str, path: Path) -> Path | None:
    candidates = [path.parent / name, path.parent / f"{name}.yaml"]
    return next((candidate for candidate in candidates if candidate.is_file()), packaged(name))


def _merge(base: Node, over: Node) -> Node:
    """Mappings merge key by key; a mapping that states another `kind` starts afresh, since its keys differ."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    kinds = [value["kind"].value for value in (base.value, over.value) if "kind" in value]
    if len(kinds) == 2 and kinds[0] != kinds[1]:
        return over
    value = {**base.value}
    for key, node in over.value.items():
        value[key] = _merge(value[key], node) if key in value else node
    return replace(over, value=value, keys={**base.keys, **over.keys})


def _override(root: Node, override: str, problems: list[str]) -> None:
    mark = Mark(f"override {override!r}")
    dotted, equals, text = override.partition("=")
    path = dotted.strip().split(".")
    if not equals or not all(path):
        raise SourceError(mark, "wanted `key=value` or `outer.key=value`")
    if path == ["base"]:
        raise SourceError(mark, "base cannot be overridden, give the other config instead")
    try:
        value = _remark(parse(text, mark.file, problems), mark)
    except SourceError as error:
        raise SourceError(mark, error.text) from None
    node = root
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(node.value, list):
            if not (part.isdecimal() and int(part) < len(node.value)):
                where = ".".join(path[:depth])
                raise SourceError(mark, f"{where} is a list of {len(node.value)}, got the index {part!r}")
            if last:
                node.value[int(part)] = value
            else:
                node = node.value[int(part)]
        elif node.value is None or isinstance(node.value, dict):
            node.value = node.value or {}
            if last:
                node.value[part], node.keys[part] = value, mark
            else:
                node.keys.setdefault(part, mark)
                node = node.value.setdefault(part, Node({}, mark))
        else:
            raise SourceError(mark, f"{'.'.join(path[:depth])} is {node.value!r}, wanted a mapping to set a key of")


def _remark(node: Node, mark: Mark) -> Node:
    if isinstance(node.value, dict):
        value = {key: _remark(child, mark) for key, child in node.value.items()}
        return Node(value, mark, dict.fromkeys(value, mark), node.size)
    if isinstance(node.value, list):
        return Node([_remark(child, mark) for child in node.value], mark, size=node.size)
    return Node(node.value, mark)
