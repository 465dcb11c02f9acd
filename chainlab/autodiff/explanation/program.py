"""Programs opened, executed equation by equation, and named."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.extend.source_info_util import summarize

from chainlab.autodiff.jaxprs import opened

INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr"}
"""Calls that are walked into, by the parameter that holds their program."""

CUSTOM = {"custom_jvp_call": "custom_jvp", "custom_vjp_call": "custom_vjp"}
"""Calls that declare their own derivative."""

FLAT = frozenset({"stop_gradient", "floor", "ceil", "round", "sign", "is_finite"})
"""Operations whose derivative is zero by definition: the chain ends there."""


class Program(NamedTuple):
    """A program and the constants it closes over."""

    jaxpr: Any
    consts: Sequence[Any]


def program(closed: Any) -> Program:
    """The program and its constants, whichever of JAX's forms it has."""
    return Program(*opened(closed))


def bind(equation: Any, arguments: Sequence[Any]) -> list[Any]:
    """Execute one equation; always returns a list of outputs."""
    primitive = equation.primitive
    result = primitive.bind(*arguments, **primitive.get_bind_params(equation.params))
    return list(result) if primitive.multiple_results else [result]


def call_name(equation: Any) -> str:
    """The name of the function that a call equation calls."""
    parameters = equation.params
    if "name" in parameters and isinstance(parameters["name"], str):
        return parameters["name"]
    for key in ("call_jaxpr", "jaxpr"):
        if key in parameters:
            info = getattr(program(parameters[key]).jaxpr, "debug_info", None)
            name = getattr(info, "func_name", None)
            if name:
                return str(name)
    return equation.primitive.name


def source_line(equation: Any) -> str:
    """File, line and function that an equation was traced from."""
    return summarize(equation.source_info)


def is_literal(atom: Any) -> bool:
    """Whether an operand is written into the program."""
    return isinstance(atom, core.Literal)


def is_differentiable(dtype: Any) -> bool:
    """Whether values of a type carry derivatives: real and complex floats do, integers and keys don't."""
    return jax.numpy.issubdtype(dtype, jax.numpy.inexact)


def evaluate(program: Program, arguments: Sequence[Any], step: Callable[..., list[Any]] = bind) -> list[Any]:
    """Run a program equation by equation."""
    environment: dict[Any, Any] = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    environment.update(zip(program.jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if is_literal(atom) else environment[atom]

    for equation in program.jaxpr.eqns:
        environment.update(zip(equation.outvars, step(equation, [read(a) for a in equation.invars]), strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def forward_only(equation: Any, arguments: Sequence[Any]) -> list[Any]:
    """Execute an equation with every declared derivative taken off, so that its forward is differentiated."""
    name = equation.primitive.name
    if name in CUSTOM or name in INLINED:
        body = program(equation.params[INLINED.get(name, "call_jaxpr")])
        return evaluate(body, arguments, forward_only)
    return bind(equation, arguments)
