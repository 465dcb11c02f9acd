"""Forward evaluation of a program, equation by equation, recorded on a tape.

Calls are walked into (`jit`, `remat`), a concrete `cond` takes its branch, short scans and while loops with
a concrete trip count are unrolled and long ones are folded into one node. The same walk runs on concrete
values and on the tracers of an enclosing `jit`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from chainlab.autodiff.explanation import loops
from chainlab.autodiff.explanation.program import (
    WALKED,
    call_name,
    is_differentiable,
    is_literal,
)
from chainlab.autodiff.explanation.pullback import DERIVATIVE_ERRORS, explain_failure
from chainlab.autodiff.explanation.record import add_outputs, record
from chainlab.autodiff.explanation.tape import Operand, Tape
from chainlab.autodiff.jaxprs import REMATERIALISED, Program, body_of, opened, scan_layout


def walk(tape: Tape, program: Program, arguments: Sequence[Operand], scope: tuple[str, ...]) -> list[Operand]:
    """Evaluate a program on operands, recording every equation."""
    environment: dict[Any, Operand] = {
        variable: Operand(value) for variable, value in zip(program.jaxpr.constvars, program.consts, strict=True)
    }
    environment.update(zip(program.jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Operand:
        return Operand(atom.val) if is_literal(atom) else environment[atom]

    for equation in program.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        environment.update(zip(equation.outvars, evaluate(tape, equation, operands, scope), strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def evaluate(tape: Tape, equation: Any, operands: list[Operand], scope: tuple[str, ...]) -> list[Operand]:
    """Evaluate one equation: walk into it, or record it."""
    name = equation.primitive.name
    stack = str(equation.source_info.name_stack)
    scope = (*scope, *(part for part in stack.split("/") if part))
    if any(operand.active for operand in operands):
        if name in WALKED:
            body = body_of(equation)
            label = "remat" if name in REMATERIALISED else call_name(equation).strip("_")
            if len(body.jaxpr.eqns) > 1 and label not in ("<lambda>", "lambda"):
                scope = (*scope, tape.unique(scope, label))
            return walk(tape, body, operands, scope)
        if name == "cond" and not isinstance(operands[0].value, Tracer):
            branches = equation.params["branches"]
            chosen = int(np.clip(operands[0].value, 0, len(branches) - 1))
            inner = (*scope, tape.unique(scope, "cond"), f"branch {chosen}")
            return walk(tape, opened(branches[chosen]), operands[1:], inner)
        if name == "scan" and equation.params["length"] <= tape.unroll:
            return _unroll_scan(tape, equation, operands, scope)
        if name == "scan" and not tape.traced:
            return _fold(tape, equation, loops.from_scan(equation), operands, scope)
        if name == "while" and not any(isinstance(o.value, Tracer) for o in operands):
            return _while(tape, equation, operands, scope)
    return record(tape, equation, operands, scope)


def _unroll_scan(tape: Tape, equation: Any, operands: list[Operand], scope: tuple[str, ...]) -> list[Operand]:
    parameters = equation.params
    body, length = body_of(equation), parameters["length"]
    n_consts, n_carry = scan_layout(parameters)
    consts, carry = operands[:n_consts], operands[n_consts : n_consts + n_carry]
    scanned = operands[n_consts + n_carry :]
    scope = (*scope, tape.unique(scope, "scan"))
    order = range(length - 1, -1, -1) if parameters["reverse"] else range(length)
    rows: dict[int, list[Operand]] = {}
    for step in order:
        inner = (*scope, f"step {step}")
        row = [_index(tape, operand, step, inner) for operand in scanned]
        results = walk(tape, body, [*consts, *carry, *row], inner)
        carry, rows[step] = results[:n_carry], results[n_carry:]
    stacked = [_stack(tape, [rows[i][j] for i in range(length)], scope) for j in range(len(rows[0]))] if length else []
    if not length:
        return record(tape, equation, operands, scope)
    return [*carry, *stacked]


def _apply(tape: Tape, function: Any, operands: list[Operand], scope: tuple[str, ...]) -> Operand:
    """Record a JAX function of the operands that is no equation of the program (taking a row, stacking rows)."""
    if not any(operand.active for operand in operands):
        return Operand(function(*(operand.value for operand in operands)))
    body = opened(jax.make_jaxpr(function)(*(operand.value for operand in operands)))
    return walk(tape, body, operands, scope)[0]


def _index(tape: Tape, operand: Operand, step: int, scope: tuple[str, ...]) -> Operand:
    return _apply(tape, lambda x: jax.lax.index_in_dim(x, step, keepdims=False), [operand], scope)


def _stack(tape: Tape, operands: list[Operand], scope: tuple[str, ...]) -> Operand:
    def stack(*rows: Any) -> Any:
        return jax.lax.concatenate([jax.lax.expand_dims(row, (0,)) for row in rows], 0)

    if len({str(jax.typeof(operand.value).dtype) for operand in operands}) > 1 or not operands:
        raise AssertionError("rows of a scan output share their type")
    return _apply(tape, stack, operands, scope)


def _while(tape: Tape, equation: Any, operands: list[Operand], scope: tuple[str, ...]) -> list[Operand]:
    loop = loops.from_while(equation, [operand.value for operand in operands])
    kept = operands[equation.params["cond_nconsts"] :]
    if loop.length > tape.unroll:
        return _fold(tape, equation, loop, kept, scope)
    consts, carry = kept[: loop.n_consts], kept[loop.n_consts :]
    scope = (*scope, tape.unique(scope, "while"))
    for step in range(loop.length):
        carry = walk(tape, loop.body, [*consts, *carry], (*scope, f"step {step}"))
    return carry


def _fold(
    tape: Tape, equation: Any, loop: "loops.Loop", operands: list[Operand], scope: tuple[str, ...]
) -> list[Operand]:
    folded = loops.run(loop, [operand.value for operand in operands])
    inputs = tuple(i for i, operand in enumerate(operands) if operand.active)
    outputs = tuple(i for i, value in enumerate(folded.outputs) if is_differentiable(value.dtype))

    def pullback(cotangents: Sequence[Any], /) -> list[Any]:
        full: list[Any] = [None] * len(folded.outputs)
        for position, cotangent in zip(outputs, cotangents, strict=True):
            full[position] = cotangent
        try:
            contributions = folded.pull(full)
        except DERIVATIVE_ERRORS as error:
            raise explain_failure(equation, error) from error
        return [contributions[i] for i in inputs]

    op = f"{equation.primitive.name} x{loop.length}"
    results = add_outputs(tape, equation, op, "loop", operands, inputs, outputs, folded.outputs, pullback, scope)
    operation = tape.operations[-1]
    (operation.group or operation.outputs[0]).iterations = folded.iterations
    return results
