"""Recording one equation: its nodes, its edges and its pullback."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from chainlab.autodiff.explanation.graph import Edge, Kind, Node, Pullback
from chainlab.autodiff.explanation.program import FLAT, call_name, is_differentiable, source_line
from chainlab.autodiff.explanation.pullback import (
    DERIVATIVE_ERRORS,
    eager,
    explain_failure,
    forward_pullback,
    rule_of,
)
from chainlab.autodiff.explanation.tape import Operand, Operation, Tape
from chainlab.autodiff.jaxprs import CUSTOM, bind


def record(tape: Tape, equation: Any, operands: list[Operand], scope: tuple[str, ...]) -> list[Operand]:
    """Execute an equation as it is and record its nodes and edges."""
    name = equation.primitive.name
    values = [operand.value for operand in operands]
    inputs = tuple(i for i, operand in enumerate(operands) if operand.active)
    avals = [variable.aval for variable in equation.outvars]
    outputs = tuple(i for i, aval in enumerate(avals) if is_differentiable(aval.dtype))
    op = call_name(equation) if name in CUSTOM else name
    if not inputs or not outputs or name in FLAT:
        results = bind(equation, values)
        if not any(operand.node is not None for operand in operands):
            return [Operand(value) for value in results]  # depends on constants alone
        return [passive(tape, equation, op, operands, value, scope) for value in results]
    forward: Pullback | None = None
    pullback: Pullback
    if tape.traced:
        results, pullback = _differentiate(equation, values, inputs, outputs)
    else:
        rule = rule_of(equation, inputs, outputs)
        results, pullback = bind(equation, values), eager(rule, values)
        forward = forward_pullback(rule, values) if name in CUSTOM else None
    kind: Any = name.removesuffix("_call") if name in CUSTOM else "operation"
    return add_outputs(tape, equation, op, kind, operands, inputs, outputs, results, pullback, scope, forward)


def _differentiate(
    equation: Any, values: Sequence[Any], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[list[Any], Pullback]:
    """Results and pullback of an equation on traced values."""
    rest = tuple(i for i in range(len(equation.outvars)) if i not in outputs)

    def run(*chosen: Any) -> tuple[list[Any], list[Any]]:
        operands = list(values)
        for position, value in zip(inputs, chosen, strict=True):
            operands[position] = value
        results = bind(equation, operands)
        return [results[i] for i in outputs], [results[i] for i in rest]

    try:
        primals, vjp, others = jax.vjp(run, *[values[i] for i in inputs], has_aux=True)
    except DERIVATIVE_ERRORS as error:
        raise explain_failure(equation, error) from error

    def pullback(cotangents: Sequence[Any], /) -> list[Any]:
        try:
            return list(vjp(list(cotangents)))
        except DERIVATIVE_ERRORS as error:
            raise explain_failure(equation, error) from error

    table = {**dict(zip(outputs, primals, strict=True)), **dict(zip(rest, others, strict=True))}
    return [table[i] for i in range(len(table))], pullback


def passive(tape: Tape, equation: Any, op: str, operands: list[Operand], value: Any, scope: tuple[str, ...]) -> Operand:
    """Record a result without a derivative."""
    node = tape.add_node(
        op, "operation", value, active=False, scope=scope, source=source_line(equation), literals=literals(operands)
    )
    for position, operand in enumerate(operands):
        if operand.node is not None:
            tape.add_edge(operand.node, node, position, active=False)
    return Operand(value, node)


def literals(operands: list[Operand]) -> dict[int, str]:
    """The operands that are no nodes: numbers written into the program and arrays closed over."""
    found: dict[int, str] = {}
    for position, operand in enumerate(operands):
        if operand.node is None and not isinstance(operand.value, Tracer):
            value = operand.value
            shown = f"{np.asarray(value).item():.6g}" if np.size(value) == 1 and _is_number(value) else ""
            aval = jax.typeof(value)
            found[position] = shown or f"{aval.dtype}{list(aval.shape)}"
    return found


def _is_number(value: Any) -> bool:
    dtype = getattr(np.asarray(value) if np.isscalar(value) else value, "dtype", None)
    return getattr(dtype, "kind", "O") in "fiub"  # a key's type has no kind


def add_outputs(
    tape: Tape,
    equation: Any,
    op: str,
    kind: Kind,
    operands: list[Operand],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    results: Sequence[Any],
    pullback: Pullback,
    scope: tuple[str, ...],
    forward: Pullback | None = None,
) -> list[Operand]:
    """Nodes for the results of an operation and edges from its operands."""
    common: dict[str, Any] = {"scope": scope, "source": source_line(equation), "literals": literals(operands)}
    made: dict[int, Node] = {}
    first = min(outputs)
    group: Node | None = None
    projections: tuple[Edge, ...] = ()
    if len(outputs) > 1:
        group = tape.add_node(op, kind, tuple(results[i] for i in outputs), active=True, **common)
        common["literals"] = {}
        edges: list[Edge] = []
        for component, i in enumerate(outputs):
            made[i] = tape.add_node(f"{op}[{i}]", "operation", results[i], active=True, **common)
            edges.append(tape.add_edge(group, made[i], 0, active=True, component=component))
        projections = tuple(edges)
    else:
        made[first] = tape.add_node(op, kind, results[first], active=True, **common)
    target = group or made[first]
    values = tuple(operand.value for operand in operands)
    active: list[Edge] = []
    for position, operand in enumerate(operands):
        if position in inputs and operand.node is not None:
            active.append(
                tape.add_edge(
                    operand.node,
                    target,
                    position,
                    active=True,
                    slot=len(active),
                    pullback=pullback,
                    forward_pullback=forward,
                    equation=equation,
                    operands=values,
                )
            )
        elif operand.node is not None:
            tape.add_edge(operand.node, target, position, active=False)
    tape.operations.append(Operation(tuple(active), tuple(made[i] for i in outputs), pullback, group, projections))
    for i, value in enumerate(results):
        if i not in made:
            made[i] = passive(tape, equation, f"{op}[{i}]", operands, value, scope).node  # pyright: ignore[reportArgumentType]
    return [Operand(value, made[i]) for i, value in enumerate(results)]
