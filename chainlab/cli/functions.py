"""What the gradient verbs look at: `module:function` with arguments, or the objectives of a config."""

import ast
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chainlab.cli.common import ConfigName
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.lab.task import Subject
    from chainlab.typing import Batch, PRNGKey

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def target_argument(command: _Decorated) -> _Decorated:
    """`CONFIG | MODULE:FUNCTION`, as `target`."""
    return click.argument("target", type=ConfigName(), metavar="CONFIG | MODULE:FUNCTION")(command)


def args_option(command: _Decorated) -> _Decorated:
    """`--args`: the function's arguments, as `text`."""
    return click.option("--args", "text", metavar="LIST", help="Arguments of the function, a JSON or Python list.")(
        command
    )


def named_call(target: str, overrides: Sequence[str], text: str | None) -> tuple[Callable[..., Any], list[Any]] | None:
    """The function that a target names and the arguments it is called with, or None where the target is a config.

    Args:
        target: `module:function`, `./file.py:function`, or a config.
        overrides: `a.b=value`; a function takes none.
        text: Its `--args`; a function needs them, and a config takes none.

    Returns:
        The function and its arguments; None for a config.

    Raises:
        UsageError: Target, overrides and arguments do not belong together, or name nothing.
    """
    if ":" not in target or target.endswith((".yaml", ".yml")):
        if text is not None:
            raise UsageError(f"--args is for a function, and {target!r} names none: wanted module:function")
        return None
    if overrides:
        raise UsageError(f"a function takes no overrides, got {' '.join(overrides)}: use --args '[...]'")
    if text is None:
        raise UsageError("a function needs --args, a list of its arguments such as --args '[2.0, 3.0]'")
    return function(target), arguments(text)


def function(target: str) -> Callable[..., Any]:
    """Import what a target names; the current folder is searched first, as with `python -m`.

    Args:
        target: `module:function` or `./file.py:function`.

    Returns:
        The function.

    Raises:
        UsageError: The module or the function is not there, or it is no function.
    """
    address, _, name = target.rpartition(":")
    module = _file(Path(address)) if address.endswith(".py") else _module(address)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            there = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
            raise UsageError(f"{address} has no {name!r}; it has {', '.join(there[:12]) or 'no function'}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__}, wanted a function")
    return found


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"no file {str(path)!r} in {os.getcwd()}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there and needs another one
        raise UsageError(
            f"no module {name!r} here or on Python's path; wanted module:function or ./file.py:function"
        ) from None


def arguments(text: str) -> list[Any]:
    """Arguments from a list in JSON or in Python's notation: lists of numbers become arrays, also inside mappings.

    Args:
        text: `[2.0, 3.0]`, `[[1.0, 2.0], {"w": [[0.5]]}]`.

    Returns:
        The arguments.

    Raises:
        UsageError: The text is no list, or a list in it is ragged.

    Example:
        >>> arguments("[2.0, [1.0, 3.0]]")[0]
        2.0
    """
    try:
        values: Any = json.loads(text)
    except json.JSONDecodeError:
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise UsageError(
                f"--args is neither JSON nor a Python literal: {text!r}, wanted such as '[2.0, 3.0]'"
            ) from None
    if not isinstance(values, list | tuple):
        raise UsageError(f"--args must be a list of the arguments, such as '[{text}]'")
    return [_argument(value) for value in values]


def _argument(value: Any) -> Any:
    import jax.numpy as jnp

    if isinstance(value, dict):
        return {name: _argument(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        try:
            return jnp.asarray(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--args holds a list that is no array (ragged, or not of numbers): {value!r}") from error
    return value


def subjects(config: str, overrides: Sequence[str]) -> tuple[Mapping[str, "Subject"], "Batch", "PRNGKey"]:
    """The objectives of a config's task at its initial state, the first batch, and a key.

    Args:
        config: A config.
        overrides: `a.b=value`.

    Returns:
        The subjects by name, the batch and the key.

    Raises:
        UsageError: The task names no subject.
    """
    import jax

    from chainlab.lab.config import load

    document = load(config, overrides)
    task = document.task()
    key = jax.random.key(document.envelope.seed)
    if task.subjects is None:
        raise UsageError(f"{document.experiment.reference} names no subjects: Task(subjects=...) says what to look at")
    return task.subjects(task.init(key)), task.data.batch(key, 0), key
