"""The first equation that makes a value that is not finite."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from chainlab.autodiff.checking.promote import inner
from chainlab.autodiff.jaxprs import bind, equations, scan_layout, source_of


@dataclass(frozen=True)
class Origin:
    """Where a value stopped being finite.

    Attributes:
        primitive: Name of the primitive.
        source: `file:line (function)` of the user's code.
        backward: Whether the equation belongs to the derivative, not to the function.
        masked: Whether the program selects between branches, so that a masked branch can leak.
    """

    primitive: str
    source: str
    backward: bool
    masked: bool

    def __str__(self) -> str:
        """The place in words."""
        side = "the derivative of the line" if self.backward else "the line"
        return f"`{self.primitive}`, {side} {self.source}"


def finite(value: Any) -> bool:
    """Whether every entry is finite; true of values that have no such notion."""
    dtype = getattr(value, "dtype", np.asarray(value).dtype)
    return not jnp.issubdtype(dtype, jnp.inexact) or bool(jnp.all(jnp.isfinite(value)))


def origin(program: ClosedJaxpr, inputs: Sequence[Any]) -> Origin | None:
    """Find the equation from which a program's outputs are not finite.

    The program is run equation by equation. Starting at an output that is not finite, inputs that are not
    finite are followed upwards until an equation makes such a value from finite ones, so that an infinity which
    does no harm (a mask) is not blamed.

    Args:
        program: The traced program.
        inputs: Its flat inputs.

    Returns:
        The place, or None where every output is finite.
    """
    masked = any(e.primitive.name == "select_n" for e in equations(program.jaxpr))
    found = _descend(program.jaxpr, program.consts, inputs)
    if found is None:
        return None
    stack = str(found.source_info.name_stack)
    return Origin(found.primitive.name, source_of(found) or "of unknown source", "transpose" in stack, masked)


def _descend(program: Jaxpr, constants: Sequence[Any], inputs: Sequence[Any]) -> Any | None:
    values: dict[Any, Any] = {}
    maker: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    def bad(atom: Any) -> bool:
        return not isinstance(atom, Literal) and not finite(values[atom])

    values.update(zip(program.constvars, constants, strict=True))
    values.update(zip(program.invars, inputs, strict=True))
    for equation in program.eqns:
        arguments = [read(a) for a in equation.invars]
        wrapped = inner(equation)
        if wrapped is not None:
            run = jax.jit(jaxpr_as_fun(ClosedJaxpr(wrapped[0], wrapped[1])))
            result = run(*arguments)
        else:
            result = bind(equation, arguments)
        values.update(zip(equation.outvars, result, strict=True))
        maker.update(dict.fromkeys(equation.outvars, equation))
    pending = [v for v in program.outvars if bad(v)]
    seen: set[Any] = set()
    roots: list[Any] = []
    while pending:
        atom = pending.pop()
        if atom in seen or atom not in maker:
            continue
        seen.add(atom)
        parents = [a for a in maker[atom].invars if bad(a)]
        if parents:
            pending += parents
        else:
            roots.append(maker[atom])
    if not roots:
        return None
    order = {id(e): i for i, e in enumerate(program.eqns)}
    first = min(roots, key=lambda e: order[id(e)])
    return _inside(first, [read(a) for a in first.invars]) or first


def _inside(equation: Any, arguments: list[Any]) -> Any | None:
    """The equation inside a control-flow equation that makes the first bad value."""
    params = equation.params
    wrapped = inner(equation)
    if wrapped is not None:
        return _descend(*wrapped, arguments)
    if equation.primitive.name == "cond":
        branch = params["branches"][int(arguments[0])]
        return _descend(branch.jaxpr, branch.consts, arguments[1:])
    if equation.primitive.name == "scan":
        first, carries = scan_layout(params)
        constants, carry, sliced = np.split(np.arange(len(arguments)), [first, first + carries])
        state = [arguments[i] for i in carry]
        body = params["jaxpr"]
        step = jax.jit(jaxpr_as_fun(body))
        for turn in range(params["length"])[:: -1 if params["reverse"] else 1]:
            inputs = [arguments[i] for i in constants] + state + [arguments[i][turn] for i in sliced]
            outputs = step(*inputs)
            if not all(map(finite, outputs)):
                return _descend(body.jaxpr, body.consts, inputs)
            state = outputs[:carries]
    if equation.primitive.name == "while":
        conditions, body = params["cond_jaxpr"], params["body_jaxpr"]
        first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        state = arguments[second:]
        step = jax.jit(jaxpr_as_fun(body))
        goes = jax.jit(jaxpr_as_fun(conditions))
        while bool(goes(*arguments[:first], *state)[0]):
            inputs = [*arguments[first:second], *state]
            outputs = step(*inputs)
            if not all(map(finite, outputs)):
                return _descend(body.jaxpr, body.consts, inputs)
            state = list(outputs)
    return None
