"""Which values of a jaxpr depend on the differentiated inputs, and which influence the output."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from chainlab.autodiff.jaxprs import INLINED, REMATERIALISED, body_of, opened, scan_layout, variables

Rule = Callable[[JaxprEqn, Sequence[bool]], bool]
_RELAYOUTS = frozenset(
    {"transpose", "reshape", "convert_element_type", "squeeze", "broadcast_in_dim", "slice", "copy", "dynamic_slice"}
)


def is_float(var: Var) -> bool:
    """Whether a variable has a derivative."""
    aval: Any = var.aval
    return jnp.issubdtype(aval.dtype, jnp.inexact)


def depends(eqn: JaxprEqn, inputs: Sequence[bool]) -> bool:
    """The rule by which a derivative passes an equation."""
    return eqn.primitive.name != "stop_gradient" and any(inputs)


def relaid(eqn: JaxprEqn, inputs: Sequence[bool]) -> bool:
    """The rule by which a weight stays a weight: cut, reshaped or cast, not computed with."""
    return eqn.primitive.name in _RELAYOUTS and inputs[0]


def forward(jaxpr: Jaxpr, flags: Sequence[bool], rule: Rule, *, through_carry: bool = True) -> set[Var]:
    """The variables that a property of the inputs reaches.

    Args:
        jaxpr: The program.
        flags: Which of its inputs have the property.
        rule: How the property passes an equation without a body.
        through_carry: Whether it passes the carry of a scan.

    Returns:
        The variables of this level that have it.
    """
    reached = {var for var, flag in zip(jaxpr.invars, flags, strict=True) if flag}
    for eqn in jaxpr.eqns:
        inputs = [not isinstance(atom, Literal) and atom in reached for atom in eqn.invars]
        outputs = _forward_outputs(eqn, inputs, rule, through_carry)
        reached |= {var for var, flag in zip(eqn.outvars, outputs, strict=True) if flag and is_float(var)}
    return reached


def _inside(jaxpr: Jaxpr, flags: Sequence[bool], rule: Rule, through_carry: bool) -> list[bool]:
    reached = forward(jaxpr, flags, rule, through_carry=through_carry)
    return [not isinstance(atom, Literal) and atom in reached for atom in jaxpr.outvars]


def scan_inputs(eqn: JaxprEqn, flags: Sequence[bool], rule: Rule, *, through_carry: bool = True) -> list[bool]:
    """Which inputs of a scan's body have the property, in any iteration."""
    body, _ = body_of(eqn)
    constants, carry = scan_layout(eqn.params)
    flags = list(flags)
    if not through_carry:
        flags[constants : constants + carry] = [False] * carry
        return flags
    while True:
        outputs = _inside(body, flags, rule, through_carry)
        grown = list(flags)
        for index in range(carry):
            grown[constants + index] |= outputs[index]
        if grown == flags:
            return flags
        flags = grown


def _forward_outputs(eqn: JaxprEqn, inputs: Sequence[bool], rule: Rule, through_carry: bool) -> list[bool]:
    name = eqn.primitive.name
    if name in INLINED or name in REMATERIALISED:
        return _inside(body_of(eqn)[0], inputs, rule, through_carry)
    if name == "scan":
        flags = scan_inputs(eqn, inputs, rule, through_carry=through_carry)
        return _inside(body_of(eqn)[0], flags, rule, through_carry)
    if name == "cond":
        branches = [_inside(opened(branch)[0], inputs[1:], rule, through_carry) for branch in eqn.params["branches"]]
        return [any(column) for column in zip(*branches, strict=True)]
    return [rule(eqn, inputs)] * len(eqn.outvars)


def backward(jaxpr: Jaxpr, flags: Sequence[bool]) -> set[Var]:
    """The variables through which a derivative reaches the flagged outputs.

    Args:
        jaxpr: The program.
        flags: Which of its outputs are differentiated.

    Returns:
        The variables of this level.
    """
    live = {var for atom, flag in zip(jaxpr.outvars, flags, strict=True) if flag for var in variables([atom])}
    for eqn in reversed(jaxpr.eqns):
        outputs = [var in live for var in eqn.outvars]
        if any(outputs) and eqn.primitive.name != "stop_gradient":
            flagged = zip(eqn.invars, _backward_inputs(eqn, outputs), strict=True)
            live |= {var for atom, flag in flagged if flag for var in variables([atom]) if is_float(var)}
    return live


def _live_inputs(jaxpr: Jaxpr, flags: Sequence[bool]) -> list[bool]:
    live = backward(jaxpr, flags)
    return [var in live for var in jaxpr.invars]


def scan_outputs(eqn: JaxprEqn, flags: Sequence[bool]) -> list[bool]:
    """Which outputs of a scan's body are differentiated, in any iteration."""
    body, _ = body_of(eqn)
    constants, carry = scan_layout(eqn.params)
    flags = list(flags)
    while True:
        inputs = _live_inputs(body, flags)
        grown = [flag or (index < carry and inputs[constants + index]) for index, flag in enumerate(flags)]
        if grown == flags:
            return flags
        flags = grown


def _backward_inputs(eqn: JaxprEqn, outputs: Sequence[bool]) -> list[bool]:
    name = eqn.primitive.name
    if name in INLINED or name in REMATERIALISED:
        return _live_inputs(body_of(eqn)[0], outputs)
    if name == "scan":
        return _live_inputs(body_of(eqn)[0], scan_outputs(eqn, outputs))
    if name == "cond":
        branches = [_live_inputs(opened(branch)[0], outputs) for branch in eqn.params["branches"]]
        return [False, *(any(column) for column in zip(*branches, strict=True))]
    return [True] * len(eqn.invars)
