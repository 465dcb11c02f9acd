"""Optimisers and schedules of optax from their configs."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optax

from chainlab.errors import UsageError
from chainlab.optim.clipping import clip_by_global_norm
from chainlab.optim.config import OptimizerConfig, ScheduleConfig
from chainlab.optim.signature import (
    Mistake,
    optimizer_mistakes,
    optimizers,
    schedule_mistakes,
    schedules,
    takes_integer_keys,
    takes_transformation,
)


def build(config: OptimizerConfig) -> optax.GradientTransformation:
    r"""The optimiser that a config names: optax's own function, called with the config's arguments.

    With `clip_norm` $c$ the gradient is first scaled: $g \leftarrow g \min(1, c / \lVert g \rVert)$.

    Args:
        config: Name, learning rate and further arguments. An argument that is a transformation in optax
            (`base_optimizer`, `fast_optimizer`, `linesearch`) is a mapping with a `name` in turn, and so is
            a schedule.

    Returns:
        The gradient transformation.

    Raises:
        UsageError: optax has no such function, or the function no such argument.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = build(OptimizerConfig(name="sgd", learning_rate=0.5))
        >>> updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)))
        >>> updates.tolist()
        [-0.5, -0.5]
    """
    data = _data(config)
    _refuse("optimizer", optimizer_mistakes(data), _learning_rate_mistakes(data))
    return _optimizer(data)


def schedule(config: ScheduleConfig) -> optax.Schedule:
    """The schedule that a config names: optax's own function, called with the config's arguments.

    Args:
        config: Name and arguments.

    Returns:
        A function from the step to the value.

    Raises:
        UsageError: optax has no such schedule, or the schedule no such argument.

    Example:
        >>> rate = schedule(ScheduleConfig(name="linear_schedule", init_value=1.0, end_value=0.0, transition_steps=4))
        >>> float(rate(1))
        0.75
    """
    data = _data(config)
    _refuse("schedule", schedule_mistakes(data))
    return _schedule(data)


def _data(config: OptimizerConfig | ScheduleConfig) -> dict[str, Any]:
    """A config as plain data; values are passed on untouched, so that they may be traced."""
    return {key: _data(value) if isinstance(value, ScheduleConfig) else value for key, value in config}


def _learning_rate_mistakes(data: Mapping[str, Any]) -> list[Mistake]:
    rate = data["learning_rate"]
    return [mistake.inside("learning_rate") for mistake in schedule_mistakes(rate)] if isinstance(rate, Mapping) else []


def _refuse(what: str, *mistakes: Iterable[Mistake]) -> None:
    found = [mistake.inside(what) for mistake in itertools.chain(*mistakes)]
    if found:
        raise UsageError("\n".join(f"{'.'.join(map(str, mistake.path))}: {mistake.text}" for mistake in found))


def _optimizer(data: Mapping[str, Any]) -> optax.GradientTransformation:
    arguments = {key: value for key, value in data.items() if key not in ("name", "clip_norm")}
    if arguments.get("learning_rate", ...) is None:
        del arguments["learning_rate"]
    transformation = _transformation(optimizers()[data["name"]], arguments)
    if data.get("clip_norm") is None:
        return transformation
    return optax.chain(clip_by_global_norm(data["clip_norm"]), transformation)


def _transformation(function: Callable[..., Any], arguments: Mapping[str, Any]) -> optax.GradientTransformation:
    """An optimiser; optax schedules its learning rate itself, and every other number through `inject_hyperparams`."""
    scheduled = [
        key
        for key, value in arguments.items()
        if key != "learning_rate" and isinstance(value, Mapping) and "name" in value
    ]
    parameters = inspect.signature(function).parameters
    if any(not takes_transformation(parameters[key]) for key in scheduled):
        return _call(optax.inject_hyperparams(function), arguments)
    return _call(function, arguments)


def _schedule(data: Mapping[str, Any]) -> optax.Schedule:
    return _call(schedules()[data["name"]], {key: value for key, value in data.items() if key != "name"})


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    parameters = inspect.signature(function).parameters
    return function(**{key: _argument(parameters[key], value) for key, value in arguments.items()})


def _argument(parameter: inspect.Parameter, value: Any) -> Any:
    if isinstance(value, Mapping):
        if "name" in value:
            return _optimizer(value) if takes_transformation(parameter) else _schedule(value)
        return {int(key): item for key, item in value.items()} if takes_integer_keys(parameter) else dict(value)
    if isinstance(value, list | tuple):
        return tuple(_argument(parameter, item) for item in value)
    return value
