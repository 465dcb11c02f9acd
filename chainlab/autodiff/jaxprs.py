"""What is needed to walk a jaxpr on every supported JAX."""

from collections.abc import Iterator, Mapping
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

INLINED = frozenset({"jit", "pjit", "closed_call", "core_call"})
REMATERIALISED = frozenset({"remat2", "checkpoint", "remat"})
CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call"})


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


def body_of(eqn: JaxprEqn) -> tuple[Jaxpr, list[Any]]:
    """The jaxpr inside a call, rematerialised call or scan, and its constants.

    Args:
        eqn: The equation.

    Returns:
        The jaxpr and the values of its `constvars`.
    """
    return opened(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")))


def opened(program: Any) -> tuple[Jaxpr, list[Any]]:
    """The jaxpr and the constants of a `ClosedJaxpr`, or of a jaxpr that holds them (from JAX 0.11 on).

    Args:
        program: Either.

    Returns:
        The jaxpr and the values of its `constvars`.
    """
    return getattr(program, "jaxpr", program), list(getattr(program, "consts", ()))


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


def primitives(jaxpr: Jaxpr) -> set[str]:
    """The names of all primitives in a jaxpr, through every level.

    Args:
        jaxpr: The jaxpr.

    Returns:
        The names.
    """
    names: set[str] = set()
    for eqn in jaxpr.eqns:
        inside = list(subjaxprs(eqn))
        names |= set().union(*map(primitives, inside)) if inside else {eqn.primitive.name}
    return names


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
        name = frame.file_name.replace("\\", "/")
        if "/jax/" not in name and "/jaxlib/" not in name and "/chainlab/autodiff/" not in name:
            return f"{name.rsplit('/', 1)[-1]}:{frame.line_num} ({frame.function_name})"
    return ""
