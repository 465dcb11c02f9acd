"""The axes that each argument of a program is broadcast over."""

from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from chainlab.autodiff.checking.promote import entries, inner

_SAME = frozenset({"convert_element_type", "reshape", "squeeze", "expand_dims", "transpose", "copy", "mul", "neg"})
"""Primitives through which a leaf is followed: what they return has the leaf's own axes."""


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
        if name == "broadcast_in_dim":
            atom, leaf = sources[0]
            factor = size // max(entries(atom), 1)
            if factor > 1:
                found[leaf].add(factor)
            else:
                origin[equation.outvars[0]] = leaf
        elif name in _SAME and len(sources) == 1:
            origin[equation.outvars[0]] = sources[0][1]
