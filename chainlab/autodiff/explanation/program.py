"""How `explain` reads the equations of a program: which it walks into, what they are called, where they come from."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import jax
from jax.extend import core
from jax.extend.source_info_util import summarize

from chainlab.autodiff.jaxprs import CUSTOM, INLINED, REMATERIALISED, bind, body_of, evaluate

WALKED = INLINED | REMATERIALISED
"""Calls that are walked into."""

FLAT = frozenset({"stop_gradient", "floor", "ceil", "round", "sign", "is_finite"})
"""Operations whose derivative is zero by definition: the chain ends there."""


def call_name(equation: Any) -> str:
    """The name of the function that a call equation calls."""
    parameters = equation.params
    if "name" in parameters and isinstance(parameters["name"], str):
        return parameters["name"]
    if "call_jaxpr" in parameters or "jaxpr" in parameters:
        info = getattr(body_of(equation).jaxpr, "debug_info", None)
        name = getattr(info, "func_name", None)
        if name:
            return str(name)
    return equation.primitive.name


def source_line(equation: Any) -> str:
    """File, line and function that an equation was traced from."""
    return summarize(equation.source_info)


def is_literal(atom: Any) -> TypeGuard[core.Literal]:
    """Whether an operand is written into the program."""
    return isinstance(atom, core.Literal)


def is_differentiable(dtype: Any) -> bool:
    """Whether values of a type carry derivatives: real and complex floats do, integers and keys don't."""
    return jax.numpy.issubdtype(dtype, jax.numpy.inexact)


def forward_only(equation: Any, arguments: Sequence[Any]) -> list[Any]:
    """Execute an equation with every declared derivative taken off, so that its forward is differentiated."""
    if equation.primitive.name in WALKED | CUSTOM:
        return evaluate(body_of(equation), arguments, forward_only)
    return bind(equation, arguments)
