"""What is needed to walk a jaxpr on every supported JAX."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

_MACHINERY = (str(Path(jax.__file__).parent), str(Path(__file__).parent), "<frozen")
"""How the names of files begin that are not of the program that is looked at."""

INLINED = frozenset({"jit", "pjit", "closed_call", "core_call"})
"""Calls that are nothing but their program."""

REMATERIALISED = frozenset({"remat2", "checkpoint", "remat"})
"""Calls whose values are computed again for the backward pass."""

CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call"})
"""Calls that declare their own derivative."""


class Program(NamedTuple):
    """A program and the values of its `constvars`."""

    jaxpr: Jaxpr
    consts: Sequence[Any]


def scan_layout(parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Numbers of constants and of carried values of a scan.

    Args:
        parameters: Of the scan's equation.

    Returns:
        The two numbers.
    """
    if "num_carry" in parameters:
        return parameters["num_consts"], parameters["num_carry"]
    constants, carry, _ = parameters["ft_in"].unpack()  # from JAX 0.11 on
    return len(list(constants.vals)), len(list(carry.vals))


def body_of(eqn: JaxprEqn) -> Program:
    """The jaxpr inside a call, of whatever kind, or a scan, and its constants.

    Args:
        eqn: The equation.

    Returns:
        The jaxpr and the values of its `constvars`.
    """
    return opened(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")))


def opened(program: Any) -> Program:
    """The jaxpr and the constants of a `ClosedJaxpr`, or of a jaxpr that holds them (from JAX 0.11 on).

    Args:
        program: Either.

    Returns:
        The jaxpr and the values of its `constvars`.
    """
    return Program(getattr(program, "jaxpr", program), list(getattr(program, "consts", ())))


def bind(eqn: JaxprEqn, arguments: Sequence[Any]) -> list[Any]:
    """Execute one equation.

    Args:
        eqn: The equation.
        arguments: Values of its inputs.

    Returns:
        Its outputs, always as a list.
    """
    with eqn.ctx.manager:
        outputs = eqn.primitive.bind(*arguments, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def evaluate(program: Program, arguments: Sequence[Any], step: Callable[..., list[Any]] = bind) -> list[Any]:
    """Run a program equation by equation.

    Args:
        program: The program.
        arguments: Values of its inputs.
        step: What executes an equation: `(equation, arguments) -> outputs`.

    Returns:
        Its outputs.
    """
    values: dict[Any, Any] = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values.update(zip(program.jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in program.jaxpr.eqns:
        values.update(zip(eqn.outvars, step(eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def subjaxprs(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """Every jaxpr among the parameters of an equation.

    Args:
        eqn: The equation.

    Yields:
        The jaxprs, open.
    """
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def equations(jaxpr: Jaxpr) -> Iterator[Any]:
    """Every equation of a jaxpr and of the jaxprs in its parameters, outside in.

    Args:
        jaxpr: The jaxpr.

    Yields:
        The equations.
    """
    for eqn in jaxpr.eqns:
        yield eqn
        for inside in subjaxprs(eqn):
            yield from equations(inside)


def primitives(jaxpr: Jaxpr) -> set[str]:
    """The names of all primitives in a jaxpr, through every level; those of calls and loops are left out.

    Args:
        jaxpr: The jaxpr.

    Returns:
        The names.
    """
    return {eqn.primitive.name for eqn in equations(jaxpr) if next(subjaxprs(eqn), None) is None}


def variables(atoms: Any) -> list[Var]:
    """The variables among the atoms of an equation (the rest are literals).

    Args:
        atoms: Inputs or outputs of an equation.

    Returns:
        The variables.
    """
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def source_of(eqn: JaxprEqn) -> str:
    """The line of the user's program that made an equation, as `file.py:12 (function)`.

    Args:
        eqn: The equation.

    Returns:
        The line, or an empty string where it is unknown.
    """
    traceback = eqn.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if not frame.file_name.startswith(_MACHINERY):
            return f"{Path(frame.file_name).name}:{frame.line_num} ({frame.function_name})"
    return ""
