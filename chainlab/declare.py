"""How an experiment declares itself: a typed config and a function from it to a task."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

_Class = TypeVar("_Class", bound=type)
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: _Class) -> _Class:
    """Make a class a config: a frozen, keyword-only dataclass whose YAML is validated strictly.

    Unknown keys are refused, strings are never numbers, and the string under a field documents it (in
    `chainlab config`, `chainlab schema` and the errors). Ranges come from `typing.Annotated` and
    `annotated_types`, e.g. `Annotated[int, Gt(0)]`.

    Example:
        >>> from chainlab import config
        >>> @config
        ... class Small:
        ...     width: int = 64
        ...     '''Features of the hidden layer.'''
        >>> Small(width=3)
        Small(width=3)
    """
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__pydantic_config__ = {"extra": "forbid", "strict": True, "use_attribute_docstrings": True}
    return made


def experiment(function: _Function) -> _Function:
    """Tag a function `(config) -> Task` as an experiment; its config type is the annotation of its argument.

    The tag is all it does: there is no registry, and importing a file registers nothing.

    Args:
        function: The function; `chainlab.lab.supervised` makes the task of most.

    Returns:
        The same function.
    """
    vars(function)["__chainlab_experiment__"] = True
    return function
