"""What optax has, read from its own signatures: names, arguments, and which of them are functions in turn."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import optax
import optax.contrib

from chainlab.errors import suggest


class Mistake(NamedTuple):
    """What is wrong in the data of an optimiser or schedule.

    Attributes:
        path: Where, from the data's own mapping on.
        text: What it is.
        key: Whether the key is wrong rather than the value.
    """

    path: tuple[str | int, ...]
    text: str
    key: bool = False

    def inside(self, *outer: str | int) -> "Mistake":
        """The same mistake as seen from an enclosing mapping."""
        return self._replace(path=(*outer, *self.path))


_OWN_KEYS = ("name", "clip_norm")  # of OptimizerConfig; everything else goes to optax


@functools.cache
def optimizers() -> Mapping[str, Callable[..., optax.GradientTransformation]]:
    """Every function of `optax` and `optax.contrib` that returns a gradient transformation, by name.

    Those that take transformations as bare positional arguments (`chain`, `named_chain`) are left out.

    Returns:
        The functions by name.

    Example:
        >>> "adamw" in optimizers(), "chain" in optimizers()
        (True, False)
    """
    found = {**vars(optax.contrib), **vars(optax)}
    return {name: function for name, function in sorted(found.items()) if _is_optimizer(name, function)}


@functools.cache
def schedules() -> Mapping[str, Callable[..., optax.Schedule]]:
    """Every function of `optax.schedules` that returns a schedule, by name.

    Returns:
        The functions by name.

    Example:
        >>> "cosine_decay_schedule" in schedules()
        True
    """
    found = sorted(vars(optax.schedules).items())
    return {name: function for name, function in found if inspect.isfunction(function) and not _wraps(function)}


def _is_optimizer(name: str, function: Any) -> bool:
    if name.startswith("_") or not inspect.isfunction(function):
        return False
    signature = inspect.signature(function)
    positional = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    return _text(signature.return_annotation).startswith("GradientTransformation") and not positional


def _wraps(function: Callable[..., Any]) -> bool:
    return "GradientTransformation" in _text(inspect.signature(function).return_annotation)


def _text(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("base.")


def takes_transformation(parameter: inspect.Parameter) -> bool:
    """Whether an argument is itself a gradient transformation, such as `base_optimizer`."""
    return "GradientTransformation" in _text(parameter.annotation)


def takes_integer_keys(parameter: inspect.Parameter) -> bool:
    """Whether an argument is a mapping from steps, whose keys YAML gives as text."""
    return "dict[int" in _text(parameter.annotation).lower()


def optimizer_mistakes(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """What is wrong with the name and arguments of an optimiser, as data.

    Args:
        data: `{name: ..., learning_rate: ..., **arguments}`.

    Yields:
        Every mistake.
    """
    arguments = {key: value for key, value in data.items() if key not in _OWN_KEYS}
    if arguments.get("learning_rate", ...) is None:
        del arguments["learning_rate"]
    yield from _mistakes("optimizer", data.get("name"), arguments, optimizers())


def schedule_mistakes(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """What is wrong with the name and arguments of a schedule, as data; see `optimizer_mistakes`."""
    arguments = {key: value for key, value in data.items() if key != "name"}
    yield from _mistakes("schedule", data.get("name"), arguments, schedules())


def _mistakes(
    what: str, name: Any, arguments: Mapping[str, Any], table: Mapping[str, Callable[..., Any]]
) -> Iterator[Mistake]:
    if not isinstance(name, str):
        return  # the config class says so
    if name not in table:
        yield Mistake(("name",), f"optax has no {what} {name!r}{suggest(name, table)}")
        return
    parameters = inspect.signature(table[name]).parameters
    for key, value in arguments.items():
        if key not in parameters:
            known = [*parameters, *(_OWN_KEYS if what == "optimizer" else ())]
            hint = suggest(key, known) or f", wanted {', '.join(parameters)}"
            yield Mistake((key,), f"optax.{name} takes no argument {key!r}{hint}", key=True)
            continue
        parameter = parameters[key]
        yield from (mistake.inside(key) for mistake in _inner(parameter, value))
        if isinstance(value, str | bool) and _is_number(parameter.default):
            got = repr(value) if isinstance(value, str) else str(value).lower()
            yield Mistake((key,), f"wrong type, got {got}, wanted a number such as {parameter.default!r}")
        elif isinstance(parameter.default, bool) and not isinstance(value, bool):
            yield Mistake((key,), f"wrong type, got {value!r}, wanted true or false")
    missing = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    for key in missing:
        if key not in arguments:
            yield Mistake((key,), f"missing key: optax.{name} needs {key}")


def _inner(parameter: inspect.Parameter, value: Any) -> Iterator[Mistake]:
    """Mistakes of transformations and schedules inside an argument."""
    if isinstance(value, Mapping) and "name" in value:
        if takes_transformation(parameter):
            yield from optimizer_mistakes(value)
        elif parameter.name != "learning_rate":  # a field of OptimizerConfig, which is visited by itself
            yield from schedule_mistakes(value)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from (mistake.inside(index) for mistake in _inner(parameter, item))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
