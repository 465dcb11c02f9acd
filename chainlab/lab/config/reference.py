"""What `experiment:` names: the one place where a config points at code."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainlab.errors import suggest

_TAG = "__chainlab_experiment__"
_GROUP = "chainlab.experiments"


@dataclass(frozen=True)
class Experiment:
    """An experiment that was found.

    Attributes:
        reference: What names it wherever the config lies: a short name, `module:function`, or
            `./file.py:function` with the file's name alone.
        name: The function's name.
        file: The user's file, where the experiment is one.
        function: The function from a config to a task.
    """

    reference: str
    name: str
    file: Path | None = field(default=None, compare=False)
    function: Callable[[Any], Any] = field(default=print, compare=False, repr=False)

    @property
    def address(self) -> str:
        """A reference that holds in any folder: like `reference`, a user's file with its absolute path."""
        return self.reference if self.file is None else f"{self.file.resolve()}:{self.name}"

    @property
    def config_type(self) -> type:
        """The type of the config: the annotation of the function's argument."""
        return _config_type(self.function)


class ResolveError(Exception):
    """An experiment cannot be found or loaded; the message says why."""


def names() -> list[str]:
    """Short names of the experiments that are installed, chainlab's own and those of entry points."""
    package = importlib.import_module("chainlab.experiments")
    own = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    others = [entry.name for entry in importlib.metadata.entry_points(group=_GROUP)]
    return sorted(name for name in {*own, *others} if not name.startswith("_"))


def resolve(reference: str, folder: Path) -> Experiment:
    """Find an experiment.

    Args:
        reference: `./file.py[:function]`, `module:function`, or a short name: chainlab's own experiments
            first, then the entry points of the group `chainlab.experiments`.
        folder: What a file is relative to.

    Returns:
        The experiment.

    Raises:
        ResolveError: There is none, or importing it fails.
    """
    head, _, attribute = reference.partition(":")
    if head.endswith(".py"):
        file = folder / head
        function = _pick(_load_file(file), attribute, file.name)
        return Experiment(f"./{file.name}:{function.__name__}", function.__name__, file.resolve(), function)
    if attribute:
        function = _pick(_import(head, reference), attribute, head)
        return Experiment(reference, attribute, function=function)
    if head.isidentifier() and importlib.util.find_spec(f"chainlab.experiments.{head}"):
        module = _import(f"chainlab.experiments.{head}", head)
        function = _pick(module, head if _tagged(vars(module).get(head)) else "", f"experiments/{head}.py")
        return Experiment(head, function.__name__, function=function)
    for entry in importlib.metadata.entry_points(group=_GROUP, name=head):
        module = _import(entry.module, f"entry point {head!r}")
        return Experiment(head, entry.attr or head, function=_pick(module, entry.attr, entry.module))
    known = names()
    raise ResolveError(
        f"no experiment {head!r}{suggest(head, known)}; experiments here: {', '.join(known) or 'none'}; "
        "or `./file.py[:function]`, or `module:function`"
    )


def _tagged(function: Any) -> bool:
    return callable(function) and getattr(function, _TAG, False) is True


def _pick(module: types.ModuleType, attribute: str, where: str) -> Callable[[Any], Any]:
    found = {
        name: value for name, value in vars(module).items() if _tagged(value) and value.__module__ == module.__name__
    }
    listed = ", ".join(found) or "none"
    if attribute:
        function = getattr(module, attribute, None)
        if function is None:
            raise ResolveError(f"{where} has no {attribute!r}{suggest(attribute, found)}; experiments in it: {listed}")
        if not _tagged(function):
            raise ResolveError(f"{attribute!r} in {where} is not an experiment: decorate it with @chainlab.experiment")
        return function
    if len(found) != 1:
        raise ResolveError(f"{where} holds {len(found)} experiments ({listed}), wanted one, or its name after a colon")
    return next(iter(found.values()))


def _import(module: str, reference: str) -> types.ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ResolveError(f"{reference} cannot be imported: {_cause(error)}") from error


def _load_file(file: Path) -> types.ModuleType:
    if not file.is_file():
        raise ResolveError(f"no file {file}")
    stat = file.stat()
    version = f"{file.resolve()}:{stat.st_mtime_ns}:{stat.st_size}"
    name = f"{file.stem}_{hashlib.sha256(version.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(file.parent.resolve()) not in sys.path:  # its own helpers, after everything installed
        sys.path.append(str(file.parent.resolve()))
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ResolveError(f"{file} cannot be imported: {_cause(error)}") from error
    return module


def _cause(error: Exception) -> str:
    trace, line = error.__traceback__, None
    while trace is not None:
        if "importlib" not in trace.tb_frame.f_code.co_filename:
            line = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = f"{Path(error.filename or '').name}:{error.lineno}"
    return f"{type(error).__name__}: {error}" + (f" ({line})" if line else "")


def _config_type(function: Callable[[Any], Any]) -> type:
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 1 or parameters[0].annotation is inspect.Parameter.empty:
        raise ResolveError(f"{function.__name__} must take one argument whose annotation is its config class")
    inner = inspect.unwrap(function)
    holder = types.SimpleNamespace(__annotations__={"config": parameters[0].annotation})
    try:
        annotation = typing.get_type_hints(holder, vars(sys.modules[inner.__module__]))["config"]
    except Exception as error:
        raise ResolveError(f"the annotation of {function.__name__}'s argument: {_cause(error)}") from error
    if not hasattr(annotation, "__pydantic_config__"):
        raise ResolveError(f"the config {annotation!r} of {function.__name__} is not a class made by @chainlab.config")
    return annotation
