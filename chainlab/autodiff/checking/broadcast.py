"""The axes that each argument of a program is broadcast over."""

from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from chainlab.autodiff.checking.promote import entries, inner

_SAME = frozenset({"convert_element_type", "reshape", "squeeze", "expand_dims", "transpose", "copy", "neg"})
"""Primitives through which a leaf is followed: what they return is the leaf's own entries."""

_STRETCH = frozenset({"broadcast_in_dim", "add", "add_any", "sub", "mul", "div", "max", "min", "pow", "select_n"})
"""Primitives that may stretch an operand over the axes of another."""


def expanded_axes(program: ClosedJaxpr) -> list[tuple[int, ...]]:
    """Factors by which each input is enlarged where it is broadcast.

    Args:
        program: The traced function of the differentiated leaves.

    Returns:
        For each input the distinct factors (output size / input size) of its broadcasts, largest first.
    """
    found: list[set[int]] = [set() for _ in program.jaxpr.invars]
    _follow(program.jaxpr, dict(zip(program.jaxpr.invars, range(len(found)), strict=True)), found)
    return [tuple(sorted(f, reverse=True)) for f in found]


def _follow(program: Jaxpr, origin: dict[Any, int], found: list[set[int]]) -> None:
    for equation in program.eqns:
        sources = [(a, origin[a]) for a in equation.invars if not isinstance(a, Literal) and a in origin]
        if not sources:
            continue
        name = equation.primitive.name
        wrapped = inner(equation)
        if wrapped is not None:
            inside = {
                variable: origin[a]
                for variable, a in zip(wrapped[0].invars, equation.invars, strict=True)
                if not isinstance(a, Literal) and a in origin
            }
            _follow(wrapped[0], inside, found)
            for outer, variable in zip(equation.outvars, wrapped[0].outvars, strict=True):
                if not isinstance(variable, Literal) and variable in inside:
                    origin[outer] = inside[variable]
            continue
        size = entries(equation.outvars[0])
        for atom, leaf in sources:
            factor = size // max(entries(atom), 1)
            if name in _STRETCH and factor > 1:
                found[leaf].add(factor)
            elif name in _SAME or name == "broadcast_in_dim" or (name == "mul" and len(sources) == 1):
                origin[equation.outvars[0]] = leaf
