"""The same program in float64: a traced function evaluated with every float widened.

A function is traced once at its working dtype and the trace is evaluated in float64. Nothing is traced again
at another dtype, so the random draws, the constants and the declared derivatives are those of the original,
and a cast to a narrower float rounds nothing. What is left is the mathematics of the program.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from chainlab.autodiff.jaxprs import CUSTOM, INLINED, REMATERIALISED, Program, body_of, equations

_WRAPPERS = INLINED | REMATERIALISED | CUSTOM
"""Primitives that only wrap a program."""

_FEW_BITS = 6
"""Literals with a mantissa up to this long, or half of the dtype's, are taken to be meant as written."""

_OPAQUE = frozenset({"pallas_call", "shard_map", "pure_callback", "io_callback", "ffi_call", "random_gamma"})
"""Primitives whose result depends on the dtype they were traced at: they run at that dtype."""


def wide(dtype: Any) -> Any:
    """The float64 or complex128 partner of a float or complex dtype; any other dtype as it is."""
    if jnp.issubdtype(dtype, jax.dtypes.extended):
        return dtype
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, jnp.floating) else np.dtype(dtype)


def _cast(value: Any, dtype: Any) -> Any:
    if jnp.issubdtype(dtype, jax.dtypes.extended) or value.dtype == dtype:
        return value
    return jax.lax.convert_element_type(value, dtype)


def widen(value: Any) -> Any:
    """An array cast to its float64 or complex128 partner."""
    value = value if hasattr(value, "dtype") else np.asarray(value)
    return _cast(value, wide(value.dtype))


def inner(equation: Any) -> Program | None:
    """The program that an equation only wraps; None for any other equation."""
    return body_of(equation) if equation.primitive.name in _WRAPPERS else None


def entries(atom: Any) -> int:
    """Number of entries of a variable."""
    return int(np.prod(getattr(atom.aval, "shape", ()), dtype=int))


def spacing(program: ClosedJaxpr) -> float:
    """Machine epsilon of the narrowest float that a program computes with."""
    found = {v.aval.dtype for v in program.jaxpr.invars if hasattr(v.aval, "dtype")}
    found |= {v.aval.dtype for e in equations(program.jaxpr) for v in e.outvars if hasattr(v.aval, "dtype")}
    floats = [d for d in found if jnp.issubdtype(d, jnp.inexact)]
    return max((float(jnp.finfo(d).eps) for d in floats), default=float(jnp.finfo(jnp.float32).eps))


def literal_spacing(program: ClosedJaxpr) -> float:
    """Machine epsilon of the narrowest float in which the program writes a number with many digits.

    Such a number (2 / sqrt(pi) in float16) was rounded before the program was widened, so that the widened
    program is that much off; 0.5 or 3 were not.
    """
    eps = 0.0
    for equation in equations(program.jaxpr):
        for atom in equation.invars:
            if isinstance(atom, Literal) and jnp.issubdtype(jnp.result_type(atom.val), jnp.floating):
                value = abs(float(np.asarray(atom.val)))
                info = jnp.finfo(jnp.result_type(atom.val))
                bits = min(_FEW_BITS, int(info.nmant) // 2)
                if 0 < value < np.inf and not (np.frexp(value)[0] * 2**bits).is_integer():
                    eps = max(eps, float(info.eps))
    return eps


def residual_spacing(program: ClosedJaxpr) -> float:
    """Machine epsilon that is left in a widened program: float64's, unless an opaque primitive runs narrower."""
    eps = float(np.finfo(np.float64).eps)
    for equation in equations(program.jaxpr):
        if equation.primitive.name in _OPAQUE:
            for variable in equation.outvars:
                if jnp.issubdtype(variable.aval.dtype, jnp.inexact):
                    eps = max(eps, float(jnp.finfo(variable.aval.dtype).eps))
    return eps


def _widen_program(program: ClosedJaxpr | Jaxpr) -> ClosedJaxpr | Jaxpr:
    closed = program if isinstance(program, ClosedJaxpr) else ClosedJaxpr(program, ())
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, wide(v.aval.dtype)) for v in closed.jaxpr.invars]
    made = jax.make_jaxpr(promote(closed))(*shapes)
    return made if isinstance(program, ClosedJaxpr) else made.jaxpr


def _widen_parameter(name: str, value: Any) -> Any:
    if isinstance(value, (ClosedJaxpr, Jaxpr)):
        return _widen_program(value)
    if isinstance(value, tuple) and value and all(isinstance(v, ClosedJaxpr) for v in value):
        return tuple(_widen_program(v) for v in value)
    if name == "precision":
        return None
    return wide(value) if isinstance(value, np.dtype) else value


def _evaluate(equation: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    primitive, params = equation.primitive, equation.params
    wrapped = inner(equation)
    if wrapped is not None:
        return _run(*wrapped, inputs)
    if primitive.name == "custom_linear_solve":
        lengths = params["const_lengths"]
        start = lengths.matvec + lengths.vecmat
        stop = start + lengths.solve
        right = inputs[start + lengths.solve + lengths.transpose_solve :]
        return promote(params["jaxprs"].solve)(*inputs[start:stop], *right)
    if primitive.name == "reduce_precision":
        return inputs
    narrow = [v.aval.dtype for v in equation.invars]
    if primitive.name in _OPAQUE or (
        primitive.name == "bitcast_convert_type" and not jnp.issubdtype(params["new_dtype"], jnp.inexact)
    ):
        inputs = [_cast(x, dtype) for x, dtype in zip(inputs, narrow, strict=True)]
    elif primitive.name != "bitcast_convert_type":
        params = {name: _widen_parameter(name, value) for name, value in params.items()}
    result = primitive.bind(*inputs, **params)
    return result if primitive.multiple_results else [result]


def _run(program: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return widen(atom.val) if isinstance(atom, Literal) else values[atom]

    values.update(zip(program.constvars, map(widen, constants), strict=True))
    values.update(zip(program.invars, arguments, strict=True))
    for equation in program.eqns:
        outputs = _evaluate(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, map(widen, outputs), strict=True))
    return [read(atom) for atom in program.outvars]


def promote(program: ClosedJaxpr, constants: Sequence[Any] | None = None) -> Callable[..., list[Any]]:
    """A traced program as a function in which every float is a float64.

    Must be called where float64 is enabled (`jax.enable_x64(True)`); it can be jitted and vmapped there.

    Args:
        program: What `jax.make_jaxpr` returned.
        constants: Values in place of the program's own constants.

    Returns:
        A function of the program's flat inputs, widened by `widen`, to its flat outputs, widened.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> coarse = jax.make_jaxpr(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32))(jnp.float32(0.1))
        >>> with jax.enable_x64(True):
        ...     print(promote(coarse)(jnp.float64(0.1))[0])
        0.1
    """

    def promoted(*arguments: Any) -> list[Any]:
        return _run(program.jaxpr, program.consts if constants is None else constants, arguments)

    return promoted
