"""From a Python function and its arguments to a program, with errors that say what to do."""

import functools
import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from chainlab.autodiff.explanation.program import is_differentiable, is_literal, source_line
from chainlab.autodiff.jaxprs import Program, opened
from chainlab.errors import UsageError


class Traced(NamedTuple):
    """A function as a program over flat arrays.

    Attributes:
        program: The program; its inputs are the leaves of the arguments.
        leaves: Key path of every input, e.g. `params['dense0']['weight']`.
        outputs: Key path of every output leaf.
        output_tree: Structure of the output (of `(output, aux)` with `has_aux`).
        output_count: How many output leaves belong to the output itself, not to `aux`.
    """

    program: Program
    leaves: tuple[str, ...]
    outputs: tuple[str, ...]
    output_tree: Any
    output_count: int


def name_of(f: Callable[..., Any]) -> str:
    """A name for a function in messages and titles."""
    while isinstance(f, functools.partial):
        f = f.func
    name = getattr(f, "__name__", type(f).__name__)
    return "f" if name == "<lambda>" else name


def leaf_names(f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """Key paths of the leaves of the arguments, beginning with the parameter's name."""
    try:
        bound = inspect.signature(f).bind(*args, **kwargs)
    except (TypeError, ValueError):
        names = [f"args[{i}]" for i in range(len(args))]
    else:
        names: list[str] = []
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                names.extend(f"{name}[{i}]" for i in range(len(value)))
            elif len(names) < len(args):
                names.append(name)
    paths: list[str] = []
    for name, value in [*zip(names, args, strict=True), *sorted(kwargs.items())]:
        paths.extend(name + jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(value))
    return tuple(paths)


def signature(leaves: Sequence[Any], tree: Any) -> Hashable:
    """What a trace depends on: the structure, and the shape and type of every leaf."""
    avals = tuple(jax.typeof(leaf) for leaf in leaves)
    return tree, avals, jax.config.read("jax_enable_x64")


def check_arguments(leaves: Sequence[Any], names: Sequence[str]) -> None:
    """Refuse arguments that are not concrete arrays or numbers."""
    for leaf, name in zip(leaves, names, strict=True):
        if isinstance(leaf, Tracer):
            raise UsageError(
                f"explain: {name} is a traced value, so there is nothing to show yet. Call explain outside jit, vmap "
                "and grad; inside jit use `explain(f).statistics`."
            )
        if not isinstance(leaf, (bool, int, float, complex, np.ndarray, np.generic, jax.Array)):
            raise UsageError(
                f"explain: {name} is a {type(leaf).__name__}, wanted an array or a number. Bind it first: "
                f"explain(functools.partial(f, {name.split('[')[0].split('.')[0]}=...))."
            )


def trace(f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], has_aux: bool) -> Traced:
    """Trace `f` twice and take the program, if both agree.

    Raises:
        UsageError: JAX cannot trace `f`, `f` has side effects, or two traces of it differ.
    """
    first, shape = _trace_once(f, args, kwargs)
    second, _ = _trace_once(f, args, kwargs)
    _check_pure(f, first, second)
    if has_aux and not (isinstance(shape, tuple) and len(shape) == 2):
        raise UsageError(
            f"explain: with has_aux=True {name_of(f)} must return (output, aux), got {type(shape).__name__}"
        )
    output = shape[0] if has_aux else shape
    paths = jax.tree_util.tree_leaves_with_path(output)
    return Traced(
        first,
        leaf_names(f, args, kwargs),
        tuple("output" + jax.tree_util.keystr(path) for path, _ in paths),
        jax.tree.structure(shape),
        len(paths),
    )


def _trace_once(f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Program, Any]:
    def fresh(*args: Any, **kwargs: Any) -> Any:  # a new function each time: JAX caches traces by identity
        return f(*args, **kwargs)

    name = name_of(f)
    try:
        closed, shape = jax.make_jaxpr(fresh, return_shape=True)(*args, **kwargs)
    except jax.errors.UnexpectedTracerError as error:
        raise _leaked(name) from error
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        raise UsageError(
            f"explain: JAX cannot trace {name}, which turns a traced value into a Python one (`if x > 0`, `float(x)`, "
            "`numpy.f(x)`, a boolean index). Use jax.numpy, jnp.where, lax.cond or lax.while_loop there, or bind the "
            f"argument with functools.partial where it is a setting.\n{_head(error)}"
        ) from error
    except TypeError as error:
        if "not a valid JAX type" in str(error) or "JAX type" in str(error):
            raise UsageError(
                f"explain: {name} must return arrays or numbers (any pytree of them).\n{_head(error)}"
            ) from error
        raise
    program = opened(closed)
    if any(isinstance(constant, Tracer) for constant in program.consts):
        raise _leaked(name)
    return program, shape


def _leaked(name: str) -> UsageError:
    return UsageError(
        f"explain: {name} keeps a traced value beyond one call (in a global, a list, an attribute) and uses it in the "
        "next. Return the value instead."
    )


def _head(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:4])


def _check_pure(f: Callable[..., Any], first: Program, second: Program) -> None:
    name = name_of(f)
    for effect in first.jaxpr.effects:
        kind = type(effect).__name__
        if "Debug" in kind:
            continue  # printing does not change the derivative
        where = _effect_source(first)
        raise UsageError(
            f"explain: {name} has a side effect ({kind}{where}). A derivative exists only for a function of its "
            "arguments: return what the callback or the mutable reference holds, and take the effect out."
        )
    difference = _difference(first, second)
    if difference:
        raise UsageError(
            f"explain: {name} is not a pure function: two traces with the same arguments differ ({difference}). Pass "
            "what changes (random numbers, counters, time, globals) as an argument."
        )


def _effect_source(program: Program) -> str:
    for equation in program.jaxpr.eqns:
        if equation.effects:
            return f", {equation.primitive.name} at {source_line(equation)}"
    return ""


def _difference(first: Program, second: Program) -> str:
    left, right = first.jaxpr.eqns, second.jaxpr.eqns
    for one, two in zip(left, right, strict=False):
        if one.primitive is not two.primitive:
            return f"{one.primitive.name} became {two.primitive.name} at {source_line(two)}"
        for a, b in zip(one.invars, two.invars, strict=False):
            if is_literal(a) and is_literal(b) and not np.array_equal(a.val, b.val, equal_nan=_floats(a.val)):
                return f"the constant {a.val} became {b.val} at {source_line(two)}"
    if len(left) != len(right):
        return f"{len(left)} operations became {len(right)}"
    for a, b in zip(first.consts, second.consts, strict=False):
        floats = isinstance(a, (np.ndarray, jax.Array)) and is_differentiable(a.dtype)
        if a is not b and floats and not np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True):
            return f"a constant array of shape {a.shape} changed"
    return ""


def _floats(value: Any) -> bool:
    return is_differentiable(np.asarray(value).dtype)
