"""A config, read, checked and resolved."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainlab.errors import ConfigError, suggest
from chainlab.lab.config import shape
from chainlab.lab.config.compose import compose, shown
from chainlab.lab.config.defaults import fill
from chainlab.lab.config.envelope import Envelope
from chainlab.lab.config.locate import find, folder
from chainlab.lab.config.reference import Experiment, ResolveError, resolve
from chainlab.lab.config.source import Node, SourceError, dump
from chainlab.lab.config.validate import Problem, deepen, validate

if TYPE_CHECKING:
    from chainlab.lab.task import Task

_NO_EFFECT = ("mesh", "note", "tags", "expect", "tracking", "sweep", "search")  # on what a run computes
_NO_EFFECT_RUN = ("checkpoint_every", "keep")


@dataclass(frozen=True)
class Document:
    """A config, read, checked and resolved; two are equal when they state the same experiment and values.

    Attributes:
        path: The file.
        experiment: The experiment it names.
        config: The experiment's typed config.
        envelope: The keys that every config has.
        values: Everything as plain data, every default filled in.
        hash: sha256 of the values that affect what a run computes.
    """

    path: Path = field(compare=False)
    experiment: Experiment
    config: Any = field(compare=False)
    envelope: Envelope
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """The config's packaged name, or its path as seen from the current folder."""
        path = self.path.resolve()
        if path.is_relative_to(folder().resolve()):
            return path.relative_to(folder().resolve()).with_suffix("").as_posix()
        return shown(self.path)

    @property
    def function(self) -> "Callable[[Any], Task]":
        """The experiment's function."""
        return self.experiment.function

    @property
    def hash(self) -> str:
        """Hexadecimal sha256 over canonical JSON of the values that affect what a run computes."""
        kept = {key: value for key, value in self.values.items() if key not in _NO_EFFECT}
        kept["run"] = {key: value for key, value in kept["run"].items() if key not in _NO_EFFECT_RUN}
        return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def task(self) -> "Task":
        """The task that the experiment makes of this config."""
        return self.function(self.config)

    def to_yaml(self) -> str:
        """The resolved config; it loads back to an equal document from any folder."""
        return dump({**self.values, "experiment": self.experiment.address})


def load(config: str | Path, overrides: Sequence[str] = (), *, deep: bool = True) -> Document:
    """Read, check and resolve a config.

    Args:
        config: A file, or the name of a packaged config.
        overrides: `key=value` or `outer.key=value`, the values in YAML 1.2.
        deep: Whether checks that import JAX are made too (names of optimisers and of their arguments).

    Returns:
        The document.

    Raises:
        ConfigError: There are mistakes; `problems` holds them all, each with its file, line and column.
    """
    path = find(config)
    problems: list[str] = []
    try:
        root = compose(path, overrides, problems)
    except SourceError as error:
        raise ConfigError([*problems, str(error)]) from None
    experiment, config_type, found = _experiment(root)
    data = root.plain()
    kinds: list[type] = [Envelope] if config_type is None else [Envelope, config_type]
    own = shape.fields(Envelope)
    results: list[Any] = []
    for kind in kinds:
        others = [key for other in kinds if other is not kind for key in shape.fields(other)]
        part = fill(kind, {key: value for key, value in data.items() if (key in own) == (kind is Envelope)})
        made, mistakes = validate(kind, root, part, also=others)
        results.append(made)
        found += mistakes
        found += deepen(kind, root, part) if deep else ()
    found += _unswept(data.get("sweep"), kinds, data, root)
    # one mistake may be seen twice, such as a missing `experiment`
    problems += [str(problem) for problem in sorted(dict.fromkeys(found), key=_order)]
    if problems or experiment is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    envelope, typed = results
    envelope = replace(envelope, experiment=experiment.reference)
    return Document(path, experiment, typed, envelope, _values(experiment, envelope, typed))


def _experiment(root: Node) -> tuple[Experiment | None, type | None, list[Problem]]:
    assert isinstance(root.value, dict)
    node = root.value.get("experiment")
    if node is None or not isinstance(node.value, str):
        return None, None, []
    where = ("experiment",)
    # a file is relative to the config that names it, or to the current folder in an override
    beside = Path(node.mark.file).parent if node.mark.line else Path()
    try:
        experiment = resolve(node.value, beside)
        config_type = experiment.config_type
    except ResolveError as error:
        return None, None, [Problem(node.mark, where, str(error))]
    taken = sorted(set(shape.fields(config_type)) & set(shape.fields(Envelope)))
    if taken:
        text = f"the config of {experiment.name} has fields that every config has already: {', '.join(taken)}"
        return None, None, [Problem(node.mark, where, text)]
    return experiment, config_type, []


def _unswept(sweep: Any, kinds: list[type], data: Any, root: Node) -> list[Problem]:
    """Keys of a sweep that name no field."""
    found: list[Problem] = []
    for key, values in sweep.items() if isinstance(sweep, dict) and len(kinds) == 2 else ():
        conditions = values.get("when") if isinstance(values, dict) else None
        places = [("sweep", key), *(("sweep", key, "when", other) for other in conditions or ())]
        for place in places:
            if text := _unnamed(str(place[-1]), kinds, data):
                found.append(Problem(root.key(place), place, text))
    return found


def _unnamed(key: str, kinds: list[type], data: Any) -> str:
    """Why a dotted key names no field; nothing where it does."""
    parts = key.split(".")
    known = {name: kind for cls in kinds for name, kind in shape.fields(cls).items()}
    inside, value = known.get(parts[0]), data.get(parts[0])
    if parts[0] not in known:
        return "names no key of this config" + suggest(parts[0], known)
    for part in parts[1:]:
        cls = shape.chosen(inside, value)
        if cls is not None and part not in shape.fields(cls) and shape.closed(cls):
            return f"{part!r} names no key of this config" + suggest(part, shape.fields(cls))
        inside = shape.inside(inside, part, value)
        value = value.get(part) if isinstance(value, dict) else None
    return ""


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    mark = problem.mark
    return not mark.line, mark.file, mark.line, mark.column


def _values(experiment: Experiment, envelope: Envelope, typed: Any) -> dict[str, Any]:
    common = shape.adapter(Envelope).dump_python(envelope, mode="json")
    common.pop("base")
    own = shape.adapter(experiment.config_type).dump_python(typed, mode="json")
    return {**common, "experiment": experiment.reference, **own}
