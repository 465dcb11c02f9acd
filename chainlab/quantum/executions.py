"""How many circuits a computation executes: the cost on hardware."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Shaped

from chainlab.autodiff.jaxprs import scan_layout
from chainlab.errors import UsageError
from chainlab.quantum.circuit import Leaf
from chainlab.quantum.matrices import Shift

_MARK = re.compile(r".* \((\d+) circuits?, axes: (\d+)\)")
_NAMED = 8  # shifted copies that a note lists


def mark(values: Shaped[Array, "..."], circuits: int, what: str) -> Shaped[Array, "..."]:
    """Note in the program that computing `values` executes this many circuits (for each batch element).

    The note is an identity that XLA removes; batching gives it the axes that tell how often it is repeated.
    """
    return checkpoint_name(values, f"{what} ({circuits} circuit{'s' * (circuits != 1)}, axes: {values.ndim})")


def describe(shifts: Sequence[Shift], leaves: Sequence[Leaf]) -> str:
    """The shifted copies in words: gate, number of its angle in the circuit, and shift."""
    listed = [f"{leaves[s.leaf].gate}[{s.leaf}] {'-' if s.shift < 0 else '+'} {abs(s.shift):.4g}" for s in shifts]
    return "circuit at " + ", ".join(listed[:_NAMED] + ["..."] * (len(listed) > _NAMED))


def executions(function: Callable[..., Any], *args: Any) -> int:
    """Count the circuits that one call of a function executes, e.g. of `jax.grad(f)`.

    The count is read off the traced program, so that it is exact under `jit`, `vmap` and `scan`; what the result
    does not need is not counted. Nothing is executed.

    Args:
        function: Any JAX function that evaluates circuits of `expectation`.
        *args: Its arguments.

    Returns:
        The number of circuits.

    Example:
        >>> import jax, pennylane as qml
        >>> from chainlab.quantum import expectation
        >>> def circuit(x):
        ...     qml.RX(x, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> f = expectation(circuit)
        >>> executions(f, 0.5), executions(jax.grad(f), 0.5), executions(jax.value_and_grad(f), 0.5)
        (1, 2, 3)
    """
    closed = jax.make_jaxpr(function)(*args)
    total, _ = _count(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return total


def _count(jaxpr: Any, wanted: Sequence[bool]) -> tuple[int, list[bool]]:
    """Circuits of a program of which some outputs are wanted, and which of its inputs they need."""
    live = {id(var) for var, want in zip(jaxpr.outvars, wanted, strict=True) if want}
    total = 0
    for equation in reversed(jaxpr.eqns):
        needs = [id(var) in live for var in equation.outvars]
        if any(needs) or equation.effects:
            circuits, inputs = _count_equation(equation, needs)
            total += circuits
            live |= {id(var) for var, need in zip(equation.invars, inputs, strict=True) if need}
    return total, [id(var) in live for var in jaxpr.invars]


def _count_equation(equation: Any, wanted: list[bool]) -> tuple[int, list[bool]]:
    name, parameters = equation.primitive.name, equation.params
    every = [True] * len(equation.invars)
    if name == "name" and (found := _MARK.fullmatch(parameters["name"])):
        shape = equation.outvars[0].aval.shape
        return int(found[1]) * math.prod(shape[: len(shape) - int(found[2])]), every
    inner = [_open(value) for value in jax.tree.leaves(list(parameters.values()), is_leaf=_is_program)]
    programs = [program for program in inner if program is not None]
    if name == "scan":
        return _count_scan(programs[0], equation, wanted)
    if name == "cond":
        counts = [_count(program, wanted)[0] for program in programs]
        return max(counts), every
    if name == "while":
        if any(_count(program, [True] * len(program.outvars))[0] for program in programs):
            raise UsageError("circuits inside a while loop cannot be counted: the number of its turns is not known")
        return 0, every
    if name in ("jit", "pjit", "closed_call", "remat", "checkpoint", "custom_jvp_call") and len(programs) == 1:
        return _count(programs[0], wanted)
    return sum(_count(program, [True] * len(program.outvars))[0] for program in programs), every


def _count_scan(body: Any, equation: Any, wanted: list[bool]) -> tuple[int, list[bool]]:
    """A carry is wanted if the result wants it or the next turn does."""
    first, carries = scan_layout(equation.params)
    wanted = list(wanted)
    while True:
        circuits, inputs = _count(body, wanted)
        more = [want or need for want, need in zip(wanted[:carries], inputs[first : first + carries], strict=True)]
        if more == wanted[:carries]:
            return equation.params["length"] * circuits, inputs
        wanted[:carries] = more


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _open(value: Any) -> Any:
    """The program in an equation's parameter, None where it holds none."""
    if hasattr(value, "eqns") and hasattr(value, "outvars"):
        return value
    return value.jaxpr if hasattr(value, "jaxpr") else None
