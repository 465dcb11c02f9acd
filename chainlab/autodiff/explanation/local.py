"""The local derivative of an edge: exact where it is small or has a known form, its size elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from chainlab.autodiff.explanation.program import WALKED, is_literal
from chainlab.autodiff.explanation.summary import flat, norm
from chainlab.autodiff.jaxprs import CUSTOM, bind, body_of, opened

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Edge, Node, Pullback

SMALL = 64
"""Jacobians of at most this many entries are kept exactly."""

_EXACT_ROWS = 256
_PROBES = 16
_ITERATIONS = 60

_UNARY = """abs acos acosh asin asinh atan atanh cbrt conj convert_element_type copy cos cosh digamma erf erf_inv
    erfc exp exp2 expm1 imag integer_pow lgamma log log1p logistic neg real reduce_precision rsqrt sin sinh sqrt square
    tan tanh"""
_NARY = "add add_any sub mul div max min pow rem atan2 select_n clamp nextafter"
_COPYING = """reshape squeeze expand_dims transpose broadcast_in_dim slice dynamic_slice concatenate pad rev gather
    split copy"""

ELEMENTWISE = frozenset(_UNARY.split()) | frozenset(_NARY.split())
"""Operations whose Jacobian is diagonal where operand and result have one shape."""

SELECTION = frozenset(_COPYING.split())
"""Operations whose every output element copies at most one element of an operand."""


@dataclass(frozen=True)
class LocalDerivative:
    """A local derivative.

    Attributes:
        kind: `scalar`, `diagonal` (elementwise: `value` has the operand's shape), `jacobian` (`value` has the
            result's shape followed by the operand's) or `operator` (too large to be kept).
        value: The derivative, or None for an operator.
        norm: Frobenius norm.
        sigma: Largest singular value; None where the rule is not linear in the cotangent.
        estimated: Whether `norm` comes from random probes and `sigma` from power iteration.
    """

    kind: Literal["scalar", "diagonal", "jacobian", "operator"]
    value: Any
    norm: float
    sigma: float | None
    estimated: bool = False


def local_derivative(edge: "Edge", pullback: "Pullback | None") -> LocalDerivative | None:
    """The local derivative of an active edge; None where the operation's data has been freed or cannot be pulled."""
    source, target = edge.source, edge.target
    if edge.component is not None:  # takes one output out of several: an identity on its elements
        return LocalDerivative("scalar" if source.size == target.size == 1 else "operator", None, target.size**0.5, 1.0)
    if pullback is None:
        return None
    if source.size == target.size == 1:
        value = np.asarray(pullback(units(target, 0))[edge.slot]).item()
        return LocalDerivative("scalar", value, abs(value), abs(value))
    if source.size * target.size <= SMALL or target.size == 1:
        matrix = jacobian(edge, pullback)
        value = matrix.reshape(np.shape(target.value) + source.shape) if not isinstance(target.value, tuple) else matrix
        sigma = float(np.linalg.norm(matrix, 2)) if np.isfinite(matrix).all() else float("nan")
        return LocalDerivative("jacobian", value, norm(matrix), sigma)
    return _structured(edge, pullback) or _operator(edge, pullback)


def units(target: "Node", index: int, fill: float = 0.0) -> list[Any]:
    """Cotangents of a target's outputs that are `fill` except for a one at a flat index."""
    parts = target.value if isinstance(target.value, tuple) else (target.value,)
    result: list[Any] = []
    offset = 0
    for part in parts:
        size = int(np.size(part))
        vector = np.full(size, fill, part.dtype)
        if offset <= index < offset + size:
            vector[index - offset] = 1
        result.append(jnp.asarray(vector.reshape(np.shape(part))))
        offset += size
    return result


def jacobian(edge: "Edge", pullback: "Pullback") -> np.ndarray:
    """The Jacobian, one row for every element of the target and one column for every element of the source."""
    rows = [flat(pullback(units(edge.target, row))[edge.slot]) for row in range(edge.target.size)]
    return np.stack(rows) if rows else np.zeros((0, edge.source.size))


def _structured(edge: "Edge", pullback: "Pullback") -> LocalDerivative | None:
    """Exact derivatives of operations whose Jacobian has a known form."""
    name = edge.equation.primitive.name if edge.equation is not None else "output"
    source, target = edge.source, edge.target
    if source.shape == target.shape and (name in ELEMENTWISE or _pulls_elementwise(edge, pullback)):
        value = np.asarray(pullback(units(target, -1, 1.0))[edge.slot])
        return LocalDerivative("diagonal", value, norm(value), float(np.max(np.abs(flat(value)), initial=0.0)))
    if name in ELEMENTWISE and len(source.shape) == len(target.shape):
        return _broadcast(edge)
    if name in SELECTION:
        uses = np.real(flat(pullback(units(target, -1, 1.0))[edge.slot]))  # how often every element is copied
        return LocalDerivative("operator", None, float(np.sqrt(uses.sum())), float(np.sqrt(uses.max(initial=0.0))))
    if name == "reduce_sum":
        fan = source.size / max(target.size, 1)
        return LocalDerivative("operator", None, source.size**0.5, fan**0.5)
    if name == "dot_general":
        return _product(edge)
    return None


def _broadcast(edge: "Edge") -> LocalDerivative:
    """An elementwise operation that repeats an operand: its Jacobian's columns do not overlap."""
    shape = edge.target.shape
    operands = [jnp.broadcast_to(operand, shape) for operand in edge.operands]

    def along(operand: Any) -> Any:
        return bind(edge.equation, [*operands[: edge.position], operand, *operands[edge.position + 1 :]])[0]

    result, vjp = jax.vjp(along, operands[edge.position])
    derivative = np.abs(flat(vjp(jnp.ones_like(result))[0])).reshape(shape)
    repeated = tuple(axis for axis, size in enumerate(edge.source.shape) if size == 1 and shape[axis] != 1)
    columns = np.square(derivative).sum(axis=repeated)
    return LocalDerivative("operator", None, float(np.sqrt(columns.sum())), float(np.sqrt(columns.max(initial=0.0))))


def _product(edge: "Edge") -> LocalDerivative:
    """A matrix product is linear in each operand; its Jacobian is the other operand, repeated over the free rows."""
    (contract, batch) = edge.equation.params["dimension_numbers"]
    mine, other = edge.position, 1 - edge.position
    value = np.asarray(edge.operands[other])
    value = value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
    contracted, batched = list(contract[other]), list(batch[other])
    free = [axis for axis in range(value.ndim) if axis not in contracted and axis not in batched]
    sizes = [int(np.prod([value.shape[a] for a in axes], dtype=np.int64)) for axes in (batched, contracted, free)]
    matrices = value.transpose(batched + contracted + free).reshape(sizes)
    shape = np.shape(edge.operands[mine])
    used = set(contract[mine]) | set(batch[mine])
    rows = int(np.prod([size for axis, size in enumerate(shape) if axis not in used], dtype=np.int64))
    finite = np.isfinite(matrices).all()
    sigma = float(np.linalg.norm(matrices, 2, axis=(1, 2)).max(initial=0.0)) if finite else float("nan")
    return LocalDerivative("operator", None, norm(matrices) * rows**0.5, sigma)


def _pulls_elementwise(edge: "Edge", pullback: "Pullback") -> bool:
    """Whether a custom derivative acts element by element, read off the program of its pullback."""
    if edge.equation is None or edge.equation.primitive.name not in ("custom_jvp_call", "custom_vjp_call"):
        return False
    try:
        closed = jax.make_jaxpr(lambda ct: pullback([ct])[edge.slot])(units(edge.target, -1)[0])
    except Exception:
        return False
    return _elementwise(opened(closed).jaxpr, edge.target.shape)


def _elementwise(jaxpr: Any, shape: tuple[int, ...]) -> bool:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in WALKED | CUSTOM:
            if not _elementwise(body_of(equation).jaxpr, shape):
                return False
            continue
        scalars = all(is_literal(a) or a.aval.shape == () for a in equation.invars)
        known = name in ELEMENTWISE or name in ("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "sign", "floor")
        if not (scalars or (known and all(v.aval.shape in ((), shape) for v in equation.outvars))):
            return False
    return True


def _operator(edge: "Edge", pullback: "Pullback") -> LocalDerivative:
    """Exact for few outputs; else power iteration through the vjp and its transpose, and random probes for the rest.

    The norm is split into the largest singular value, found by the iteration, and what is orthogonal to its vector:
    E |J^T z|^2 = |J|_F^2 for standard normal z.
    """
    if edge.target.size <= _EXACT_ROWS:
        matrix = jacobian(edge, pullback)
        sigma = float(np.linalg.norm(matrix, 2)) if np.isfinite(matrix).all() else float("nan")
        return LocalDerivative("operator", None, norm(matrix), sigma)
    template = units(edge.target, -1)

    def pull(cotangents: list[Any]) -> Any:
        return pullback(cotangents)[edge.slot]

    rng = np.random.default_rng(0)
    sigma, vector = _largest(pull, template, rng)
    squares: list[float] = []
    for _ in range(_PROBES):
        probe = rng.standard_normal(edge.target.size)
        if vector is not None:
            probe -= vector * np.dot(vector, probe)
        squares.append(norm(pull(_shaped(probe, template))) ** 2)
    frobenius = float(np.sqrt(np.mean(squares) + (sigma**2 if sigma is not None else 0.0)))
    return LocalDerivative("operator", None, frobenius, sigma, estimated=True)


def _shaped(vector: np.ndarray, template: list[Any]) -> list[Any]:
    cuts = np.cumsum([part.size for part in template])[:-1]
    parts = np.split(vector, cuts)
    return [jnp.asarray(v.reshape(part.shape), part.dtype) for v, part in zip(parts, template, strict=True)]


def _largest(
    pull: Callable[[list[Any]], Any], template: list[Any], rng: np.random.Generator
) -> tuple[float | None, np.ndarray | None]:
    """Largest singular value and its output vector; None where the rule is not linear in the cotangent."""
    try:
        push = jax.jit(jax.linear_transpose(pull, template))
        vector = rng.standard_normal(sum(part.size for part in template))
        vector /= np.linalg.norm(vector)
        sigma = 0.0
        for _ in range(_ITERATIONS):
            image = pull(_shaped(vector, template))
            before, sigma = sigma, norm(image)
            following = np.real(flat(tuple(push(image)[0])))
            size = float(np.linalg.norm(following))
            if not np.isfinite(size) or size == 0.0:
                break
            vector = following / size
            if abs(sigma - before) <= 1e-5 * sigma:
                break
    except (NotImplementedError, TypeError, ValueError, AssertionError):
        return None, None
    return sigma, vector
