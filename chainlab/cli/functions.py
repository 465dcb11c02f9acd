"""What the gradient verbs look at: `module:function` with arguments, or the objectives of a config."""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.lab.task import Subject
    from chainlab.typing import Batch, PRNGKey


def is_function(target: str) -> bool:
    """Whether a target names a function (`module:function`, `./file.py:function`), not a config."""
    return ":" in target and not target.endswith((".yaml", ".yml"))


def function(target: str) -> Callable[..., Any]:
    """Import what a target names; the current folder is searched first, as with `python -m`.

    Args:
        target: `module:function` or `./file.py:function`.

    Returns:
        The function.

    Raises:
        UsageError: The module or the function is not there.
    """
    module, _, name = target.rpartition(":")
    if module.endswith(".py"):
        path = Path(module)
        if not path.is_file():
            raise UsageError(f"no file {module!r} in {os.getcwd()}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    else:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UsageError(f"no module {module!r}: {error}; wanted module:function or ./file.py:function") from error
    found: Any = loaded
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        there = [n for n, value in vars(loaded).items() if callable(value) and not n.startswith("_")]
        raise UsageError(f"{module} has no function {name!r}; it has {', '.join(there[:12]) or 'none'}")
    return found


def arguments(text: str) -> list[Any]:
    """Arguments from a JSON list: lists of numbers become arrays, objects become dictionaries.

    Args:
        text: `[2.0, 3.0]`, `[[1.0, 2.0], {"w": [[0.5]]}]`.

    Returns:
        The arguments.

    Raises:
        UsageError: The text is not a JSON list, or a list mixes shapes.

    Example:
        >>> arguments("[2.0, [1.0, 3.0]]")[0]
        2.0
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--args is not JSON ({error}): wanted a list of arguments such as '[2.0, 3.0]'") from error
    if not isinstance(values, list):
        raise UsageError(f"--args must be a JSON list, one item an argument, got {type(values).__name__}")
    return [_argument(value) for value in values]


def _argument(value: Any) -> Any:
    import jax.numpy as jnp

    if isinstance(value, dict):
        return {name: _argument(item) for name, item in value.items()}
    if isinstance(value, list):
        try:
            return jnp.asarray(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--args holds a list that is no array: {error}") from error
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
