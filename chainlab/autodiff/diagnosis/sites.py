"""Where a program is watched: products, convolutions, activations, named values and the carries of scans."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from typing import Literal as OneOf

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from chainlab.autodiff.diagnosis.activity import backward, depends, forward, relaid, scan_inputs, scan_outputs
from chainlab.autodiff.jaxprs import (
    CUSTOM,
    INLINED,
    REMATERIALISED,
    body_of,
    opened,
    primitives,
    scan_layout,
    source_of,
    subjaxprs,
    variables,
)

Kind = OneOf["product", "activation", "carry", "tap"]
PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
_LIMITS = {"tanh": (-1.0, 1.0), "logistic": (0.0, 1.0)}
_RECTIFIERS = {"max", "min", "clamp"}


@dataclass(frozen=True)
class Site:
    """A value that is watched.

    Attributes:
        key: Its place in the jaxpr.
        name: Its name scope and primitive, unique within its loop.
        kind: What makes it a layer.
        shape: Its shape.
        dtype: Its type.
        features: The axis of its features.
        source: The line of the program that made it.
        limits: The asymptotes of the function that made it, where it has any.
        adjoint: Whether the adjoint is watched, not the value alone.
        stream: Whether it is the carry of a scan: the one path that every layer of a chain shares.
    """

    key: str
    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: Any
    features: int
    source: str
    limits: tuple[float, float] | None = None
    adjoint: bool = True
    stream: bool = False


@dataclass(frozen=True)
class Loop:
    """A scan that holds sites.

    Attributes:
        name: Its name scope.
        length: Number of iterations.
        reverse: Whether the last index comes first.
        items: Sites and loops of its body, in order.
    """

    name: str
    length: int
    reverse: bool
    items: tuple["Site | Loop", ...]


@dataclass(frozen=True)
class _Flags:
    """What is known of the values of one level: dependence on the inputs, influence on the output, weights."""

    depends: Sequence[bool]
    influences: Sequence[bool]
    weights: Sequence[bool]


def find(jaxpr: Jaxpr, differentiated: Sequence[bool]) -> tuple[Site | Loop, ...]:
    """The sites between the differentiated inputs and the outputs, in the order of execution.

    Args:
        jaxpr: The program.
        differentiated: Which of its inputs are differentiated.

    Returns:
        Sites, and the loops that hold sites.
    """
    flags = _Flags(differentiated, [True] * len(jaxpr.outvars), differentiated)
    return tuple(_walk(jaxpr, flags, "", "", {}))


def sites(items: Sequence[Site | Loop]) -> Iterator[Site]:
    """Every site once.

    Args:
        items: What `find` returned.

    Yields:
        The sites.
    """
    for item in items:
        if isinstance(item, Site):
            yield item
        else:
            yield from sites(item.items)


def _walk(jaxpr: Jaxpr, flags: _Flags, prefix: str, scope: str, covered: dict[str, Site]) -> list[Site | Loop]:
    reached = forward(jaxpr, flags.depends, depends)
    live = backward(jaxpr, flags.influences)
    weights = forward(jaxpr, flags.weights, relaid, through_carry=False)
    items: list[Site | Loop] = []
    for index, eqn in enumerate(jaxpr.eqns):
        inputs = _Flags(_flags(eqn.invars, reached), [var in live for var in eqn.outvars], _flags(eqn.invars, weights))
        if not any(inputs.influences):
            continue
        place, name = f"{prefix}{index}", _join(scope, str(eqn.source_info.name_stack))
        site = _site(jaxpr, eqn, inputs, place, name)
        if site is not None:
            if any(flag and var in reached for flag, var in zip(inputs.influences, eqn.outvars, strict=True)):
                covered[site.key] = site
                items.append(site)
        elif eqn.primitive.name in INLINED or eqn.primitive.name in REMATERIALISED:
            items += _walk(body_of(eqn)[0], inputs, f"{place}/", name, covered)
        elif eqn.primitive.name == "cond":
            for number, branch in enumerate(eqn.params["branches"]):
                inner = _Flags(inputs.depends[1:], inputs.influences, inputs.weights[1:])
                items += _walk(opened(branch)[0], inner, f"{place}/{number}/", name, covered)
        elif eqn.primitive.name == "scan":
            items += _scan(eqn, inputs, place, name, covered)
    # carries promote a site that makes them: read back what became of it
    return _unique([covered[item.key] if isinstance(item, Site) else item for item in items])


def _scan(eqn: JaxprEqn, flags: _Flags, place: str, name: str, covered: dict[str, Site]) -> list[Site | Loop]:
    body, _ = body_of(eqn)
    _, carry = scan_layout(eqn.params)
    inner = _Flags(
        scan_inputs(eqn, flags.depends, depends),
        scan_outputs(eqn, flags.influences),
        scan_inputs(eqn, flags.weights, relaid, through_carry=False),
    )
    items = _walk(body, inner, f"{place}/", "", covered)
    reached = forward(body, inner.depends, depends)
    for number, var in enumerate(body.outvars[:carry]):
        if isinstance(var, Literal) or var not in reached or not inner.influences[number] or not _shape(var):
            continue
        shape = _shape(var)
        maker = _maker(body, f"{place}/", var)
        if maker is None:  # handed on unchanged
            continue
        if maker in covered:
            covered[maker] = replace(covered[maker], adjoint=True, stream=True)
        else:
            site = Site(
                f"{place}/c{number}",
                "carry",
                "carry",
                shape,
                _dtype(var),
                len(shape) - 1,
                source_of(eqn),
                stream=True,
            )
            covered[maker] = covered[site.key] = site
            items.append(site)
    items = [covered[item.key] if isinstance(item, Site) else item for item in items]
    return [Loop(name or "scan", eqn.params["length"], eqn.params["reverse"], tuple(_unique(items)))] if items else []


def _maker(jaxpr: Jaxpr, prefix: str, var: Var) -> str | None:
    """The key of the equation that makes a value, through calls and inner scans; None for an input."""
    for index, eqn in enumerate(jaxpr.eqns):
        if var in eqn.outvars:
            number = eqn.outvars.index(var)
            called = eqn.primitive.name in INLINED or eqn.primitive.name in REMATERIALISED
            if called or (eqn.primitive.name == "scan" and number < scan_layout(eqn.params)[1]):
                inner = body_of(eqn)[0]
                out = inner.outvars[number]
                return None if isinstance(out, Literal) else _maker(inner, f"{prefix}{index}/", out)
            return f"{prefix}{index}:{number}"
    return None


def _site(jaxpr: Jaxpr, eqn: JaxprEqn, flags: _Flags, place: str, name: str) -> Site | None:
    primitive, out = eqn.primitive.name, eqn.outvars[0]
    shape = _shape(out)
    if not shape:
        return None

    def site(kind: Kind, label: str, features: int = len(shape) - 1, **extra) -> Site:
        return Site(f"{place}:0", _join(name, label), kind, shape, _dtype(out), features, source_of(eqn), **extra)

    if primitive in PRODUCTS:
        return site("product", primitive, _features(eqn, flags.weights))
    if primitive == "name":
        return site("tap", eqn.params["name"])
    if primitive in _LIMITS and not _is_gate(jaxpr, eqn):
        return site("activation", primitive, limits=_LIMITS[primitive], adjoint=False)
    if primitive == "max" and any(isinstance(atom, Literal) and atom.val == 0 for atom in eqn.invars):
        return site("activation", "relu", adjoint=False)
    if primitive in CUSTOM:
        inside = set[str]().union(*map(primitives, subjaxprs(eqn)))
        if inside & PRODUCTS:
            return site("product", primitive)
        if inside and inside <= _RECTIFIERS:
            return site("activation", "relu", adjoint=False)
    return None


def _is_gate(jaxpr: Jaxpr, eqn: JaxprEqn) -> bool:
    """Whether a sigmoid or tanh is a part of another function (SiLU, GELU), where its limits mean nothing."""
    for user in jaxpr.eqns:
        atoms = list(user.invars)
        if eqn.outvars[0] in variables(atoms) and user.primitive.name in {"mul", "add", "sub"}:
            others = [atom for atom in atoms if isinstance(atom, Literal) or atom != eqn.outvars[0]]
            if any(isinstance(atom, Literal) or atom in variables(eqn.invars) for atom in others):
                return True
    return False


def _features(eqn: JaxprEqn, weights: Sequence[bool]) -> int:
    rank = len(_shape(eqn.outvars[0]))
    if eqn.primitive.name == "conv_general_dilated":
        return eqn.params["dimension_numbers"].out_spec[1]
    (contracted, _), (batched, _) = eqn.params["dimension_numbers"]
    left = len(_shape(eqn.invars[0])) - len(contracted) - len(batched)
    if weights[0] and not weights[1] and left:  # W x rather than x W
        return len(batched) + left - 1
    return rank - 1


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(atom.aval.shape)


def _dtype(atom: Any) -> Any:
    return atom.aval.dtype


def _flags(atoms: Sequence, known: set[Var]) -> list[bool]:
    return [not isinstance(atom, Literal) and atom in known for atom in atoms]


def _join(scope: str, name: str) -> str:
    return "/".join(filter(None, (scope, name)))


def _unique(items: Sequence[Site | Loop]) -> list[Site | Loop]:
    """Number names that occur twice."""
    seen: dict[str, int] = {}
    result: list[Site | Loop] = []
    for item in items:
        count = seen[item.name] = seen.get(item.name, 0) + 1
        result.append(replace(item, name=f"{item.name}.{count}") if count > 1 else item)
    return result
