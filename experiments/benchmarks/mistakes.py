"""Planted mistakes: functions whose declared derivative is wrong, with the leaf and the coordinates that are.

The functions take floats of a dtype that the case names (float32 throughout) and are written as a user would:
a custom rule with one thing wrong in it. `wrong=None` means that the whole leaf is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Case:
    """A function to check.

    Attributes:
        name: What it is.
        f: The function.
        args: Where it is checked.
        leaf: Key path of the wrong leaf; empty where the derivative is right.
        wrong: The wrong coordinates of the leaf; None for all of it.
        options: Further arguments of `chainlab.check`.
        kinds: Kinds that name the mistake rightly; empty where several would do.
    """

    name: str
    f: Callable[..., Any]
    args: tuple[Any, ...]
    leaf: str = ""
    wrong: Sequence[tuple[int, ...]] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()


def rule(primal: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a declared backward pass `backward(args, cotangent) -> cotangents`."""
    function = jax.custom_vjp(lambda *args: primal(*args))
    function.defvjp(lambda *args: (primal(*args), args), backward)
    return function


def _total(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: jnp.sum(function(x))


def _weighted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A scalar whose cotangent differs between coordinates."""

    def f(x: Any) -> Any:
        y = function(x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return f


def _scan_stale(x: Any) -> Any:
    """H' = tanh(h + x_t), with a backward scan that reads the state after the update of the step before."""

    @jax.custom_vjp
    def run(xs: Any) -> Any:
        return jax.lax.scan(lambda h, x: ((h := jnp.tanh(h + x)), h), jnp.zeros((), xs.dtype), xs)[1]

    def backward(states: Any, cotangents: Any) -> Any:
        shifted = jnp.concatenate([jnp.zeros(1, states.dtype), states[:-1]])

        def body(adjoint: Any, step: Any) -> Any:
            state, cotangent = step
            adjoint = (adjoint + cotangent) * (1 - state**2)
            return adjoint, adjoint

        return (jax.lax.scan(body, jnp.zeros((), states.dtype), (shifted, cotangents), reverse=True)[1],)

    run.defvjp(lambda xs: (run(xs), run(xs)), backward)
    return jnp.sum(run(x) ** 2)


def _nested_once(x: Any) -> Any:
    """Right to first order; the residual is stopped, so that the second derivative is wrong."""
    square = rule(lambda x: x**3, lambda r, ct: (3 * jax.lax.stop_gradient(r[0]) ** 2 * ct,))
    return jnp.sum(square(x))


def _jvp_wrong(x: Any) -> Any:
    @jax.custom_jvp
    def sigmoid(x: Any) -> Any:
        return jax.nn.sigmoid(x)

    sigmoid.defjvp(lambda p, t: (sigmoid(p[0]), sigmoid(p[0]) * t[0]))
    return jnp.sum(sigmoid(x))


def _solve_wrong(a: Any, b: Any) -> Any:
    """A linear solve whose transpose solves with the matrix itself."""

    def solve(_: Any, b: Any) -> Any:
        return jnp.linalg.solve(jax.lax.stop_gradient(a), b)

    x = jax.lax.custom_linear_solve(lambda v: a @ v, b, solve, transpose_solve=solve)
    return jnp.sum(x * jnp.arange(1.0, 1.0 + x.size, dtype=x.dtype))


def planted() -> list[Case]:
    """The planted mistakes."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    x = normal(6)
    v = normal(30)
    matrix = normal(4, 4)
    off = jnp.ones(30).at[17].set(1.001)
    batch = normal(8, 5)
    one_of_many = jnp.ones(20_000).at[12_345].set(1.01)
    many = normal(20_000)
    params = {"w": normal(5, 3), "b": normal(3)}

    bias = rule(lambda x, b: x + b[None], lambda r, ct: (ct, jnp.mean(ct, 0)))
    bias_first = rule(lambda x, b: x + b[None], lambda r, ct: (ct, ct[0]))
    square_bias = rule(lambda x, b: x * b[None], lambda r, ct: (ct * r[1][None], jnp.sum(ct * r[0], 1)))
    product = rule(lambda a, b: a @ b, lambda r, ct: (r[1] @ ct.T, r[0].T @ ct))
    matmul_t = rule(lambda w, c: w @ c, lambda r, ct: ((ct @ r[1].T).T, r[0].T @ ct))
    swapped = rule(lambda a, b: a * b, lambda r, ct: (ct * r[0], ct * r[1]))
    softmax = rule(jax.nn.softmax, lambda r, ct: (jax.nn.softmax(r[0]) * ct,))
    normalise = rule(lambda x: x / jnp.linalg.norm(x), lambda r, ct: (ct / jnp.linalg.norm(r[0]),))
    logsumexp = rule(jax.nn.logsumexp, lambda r, ct: (jax.nn.softmax(r[0] - 0.1 * r[0]) * ct,))
    cumsum = rule(jnp.cumsum, lambda r, ct: (jnp.cumsum(ct),))
    cumulative = rule(jnp.cumsum, lambda r, ct: (jnp.cumsum(ct[::-1])[::-1] - ct,))
    region = rule(jnp.sin, lambda r, ct: (ct * jnp.where(r[0] > 1, 1.0, jnp.cos(r[0])),))
    negative = rule(jnp.abs, lambda r, ct: (ct,))
    slope = rule(lambda x: jnp.where(x > 0, x, 0.2 * x), lambda r, ct: (jnp.where(r[0] > 0, ct, 0.1 * ct),))
    gelu = rule(
        lambda x: jax.nn.gelu(x, approximate=True),
        lambda r, ct: (ct * (0.5 * (1 + jnp.tanh(0.7978846 * (r[0] + 0.044715 * r[0] ** 3)))),),
    )
    conjugate = rule(lambda z: z * (2 + 1j), lambda r, ct: (ct * (2 - 1j),))
    roll = rule(lambda x: x**2, lambda r, ct: (2 * jnp.roll(r[0], 1) * ct,))
    flip = rule(lambda x: jnp.exp(x), lambda r, ct: (jnp.exp(r[0][::-1]) * ct,))
    gather = rule(
        lambda x: x[jnp.array([0, 1, 1, 3])], lambda r, ct: (jnp.zeros(6).at[jnp.array([0, 1, 1, 3])].set(ct),)
    )
    layer = rule(
        lambda x: (x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + 1e-5),
        lambda r, ct: (ct / jnp.sqrt(jnp.var(r[0]) + 1e-5),),
    )
    temperature = rule(
        lambda x, t: jnp.sum(jnp.exp(x / t)), lambda r, ct: (ct * jnp.exp(r[0] / r[1]) / r[1], jnp.zeros(()))
    )
    stale = rule(lambda x: jnp.tanh(x), lambda r, ct: (ct * (1 - r[0] ** 2),))
    dtype = rule(lambda x: x**2, lambda r, ct: (2 * jnp.round(r[0]) * ct,))
    masked = jnp.array([0.5, -1.0, 0.0, 2.0, -3.0, 1.0])

    def head(p: Any, x: Any) -> Any:
        return jnp.mean(jnp.tanh(x @ p["w"] + jax.lax.stop_gradient(p["b"])) ** 2)

    def scaled(p: Any, x: Any) -> Any:
        half = rule(lambda w: w, lambda r, ct: (0.5 * ct,))
        return jnp.mean(jnp.tanh(x @ half(p["w"]) + p["b"]) ** 2)

    def hidden_round(p: Any, x: Any) -> Any:
        return jnp.mean((x @ p["w"] + jnp.round(4 * p["b"])) ** 2)

    def spike(w: Any) -> Any:
        step = rule(lambda u: (u > 0).astype(u.dtype), lambda r, ct: (ct / (1 + jnp.abs(r[0])) ** 2,))
        return jnp.sum(step(batch @ w) * jnp.arange(1.0, 9.0))

    def drop_decay(w: Any) -> Any:
        decay = rule(lambda w: jnp.sum(jnp.sin(w)) + 0.1 * jnp.sum(w**2), lambda r, ct: (ct * jnp.cos(r[0]),))
        return decay(w)

    def norm_masked(x: Any) -> Any:
        return jnp.sum(jnp.where(x > 0, jnp.sqrt(x), x**2))

    def one_minus_cosine(x: Any) -> Any:
        return jnp.sum((1 - jnp.cos(x)) / x**2)

    def naive_variance(x: Any) -> Any:
        return jnp.sum((x - jnp.mean(x)) ** 3) / jnp.sqrt(jnp.mean(x**2) - jnp.mean(x) ** 2) ** 3

    index_17 = rule(lambda x: jnp.sin(x), lambda r, ct: (ct * jnp.cos(r[0]) * off,))
    index_large = rule(lambda x: jnp.sin(x), lambda r, ct: (ct * jnp.cos(r[0]) * one_of_many,))
    return [
        Case(
            "missing factor 3 (x^3)",
            _total(rule(lambda x: x**3, lambda r, ct: (ct * r[0] ** 2,))),
            (x,),
            "x",
            kinds=("missing factor",),
        ),
        Case(
            "wrong sign (cos)",
            _total(rule(jnp.cos, lambda r, ct: (ct * jnp.sin(r[0]),))),
            (x,),
            "x",
            kinds=("wrong sign",),
        ),
        Case("one of 30 off by 0.1 %", _total(index_17), (v,), "x", [(17,)]),
        Case("one of 20,000 off by 1 %", _total(index_large), (many,), "x", [(12_345,)]),
        Case(
            "broadcast bias averaged",
            lambda x, b: jnp.sum(bias(x, b) ** 2),
            (batch, normal(5)),
            "b",
            kinds=("missing broadcast sum",),
        ),
        Case(
            "broadcast bias takes the first row",
            lambda x, b: jnp.sum(bias_first(x, b) ** 2),
            (batch, normal(5)),
            "b",
            kinds=("missing broadcast sum",),
        ),
        Case(
            "sum over the wrong axis",
            lambda x, b: jnp.sum(jnp.sin(square_bias(x, b))),
            (matrix, normal(4)),
            "b",
            kinds=("missing broadcast sum",),
        ),
        Case(
            "matmul: left cotangent transposed",
            lambda a, b: jnp.sum(jnp.sin(product(a, b))),
            (matrix, normal(4, 4)),
            "a",
            kinds=("transposed",),
        ),
        Case(
            "matmul weight gradient transposed",
            lambda w: jnp.sum(jnp.sin(matmul_t(w, matrix))),
            (normal(4, 4),),
            "w",
            kinds=("transposed",),
        ),
        Case(
            "product: cotangents swapped",
            lambda a, b: jnp.sum(swapped(a, b)),
            (x, normal(6)),
            "a",
            options={"argnums": 0},
        ),
        Case("softmax without its second term", _weighted(softmax), (x,), "x"),
        Case("normalise without its projection", _weighted(normalise), (x,), "x"),
        Case("logsumexp at another temperature", lambda x: logsumexp(x), (x,), "x"),
        Case("cumsum not reversed", _weighted(cumsum), (x,), "x"),
        Case("cumsum off by one", _weighted(cumulative), (x,), "x", kinds=("shifted index", "wrong value")),
        Case("wrong where x > 1", _total(region), (jnp.array([0.2, 1.5, -1.0, 0.4]),), "x", [(1,)]),
        Case("wrong only away from the arguments", _total(region), (jnp.array([0.2, 0.5, 0.9, 0.4]),), "x"),
        Case("abs without its sign", _total(negative), (jnp.array([1.0, -2.0, 3.0, -0.5]),), "x", [(1,), (3,)]),
        Case(
            "leaky slope of the negative side", _total(slope), (jnp.array([1.0, -2.0, 3.0, -0.5]),), "x", [(1,), (3,)]
        ),
        Case("gelu without its inner derivative", _total(gelu), (x,), "x"),
        Case(
            "complex: conjugate missing", lambda z: jnp.sum(jnp.real(conjugate(z) * (1 + 3j))), (x + 1j * x[::-1],), "z"
        ),
        Case("residual of the neighbour", _total(roll), (x,), "x", kinds=("shifted index",)),
        Case("axis reversed", _total(flip), (x,), "x", kinds=("transposed",)),
        Case("gather: scatter sets instead of adding", _weighted(gather), (x,), "x", [(1,)]),
        Case("layer norm without its mean terms", _weighted(layer), (x,), "x"),
        Case(
            "temperature stopped",
            lambda x, t: temperature(x, t),
            (x, jnp.float32(1.7)),
            "t",
            kinds=("stopped gradient",),
        ),
        Case("tanh with its input as residual", _total(stale), (x,), "x"),
        Case("residual rounded", _total(dtype), (x,), "x"),
        Case("bias behind stop_gradient", head, (params, batch), "p['b']", kinds=("stopped gradient",)),
        Case("weight gradient halved inside a net", scaled, (params, batch), "p['w']", kinds=("missing factor",)),
        Case("bias behind round", hidden_round, (params, batch), "p['b']", kinds=("dead leaf",)),
        Case("undeclared surrogate spike", spike, (normal(5),), "w", kinds=("surrogate",)),
        Case("weight decay forgotten", drop_decay, (x,), "w", kinds=("missing term",)),
        Case("nan through where (sqrt)", norm_masked, (masked,), "x", [(1,), (2,), (4,)], kinds=("nan through where",)),
        Case(
            "nan through where (log)",
            lambda x: jnp.sum(jnp.where(x > 0.1, jnp.log(jnp.maximum(x, 0.0)), 0.0)),
            (jnp.array([1.0, 0.0, 2.0, -1.0]),),
            "x",
            [(1,), (3,)],
            kinds=("nan through where", "non-finite"),
        ),
        Case("norm at zero", lambda x: jnp.sqrt(jnp.sum(x**2)), (jnp.zeros(3),), "x", kinds=("non-finite",)),
        Case("cancellation in float32", one_minus_cosine, (jnp.array([1e-4, 1.0]),), "x", [(0,)], kinds=("precision",)),
        Case(
            "skewness by a naive variance",
            naive_variance,
            (3000.0 + jnp.exp(x),),
            "x",
            kinds=("precision", "non-finite"),
        ),
        Case(
            "overflow in float32 (naive softplus)",
            lambda x: jnp.sum(jnp.log1p(jnp.exp(x))),
            (jnp.array([1.0, 100.0]),),
            "x",
            [(1,)],
            kinds=("non-finite",),
        ),
        Case("scan reads a stale state", _scan_stale, (x,), "x"),
        Case("second derivative stopped", _nested_once, (x,), "x", options={"order": 2}, kinds=("second derivative",)),
        Case("custom_jvp without 1 - s", _jvp_wrong, (x,), "x", options={"mode": "fwd"}),
        Case(
            "linear solve: transpose not transposed",
            lambda b: _solve_wrong(matrix + 3 * jnp.eye(4), b),
            (normal(4),),
            "b",
        ),
        Case(
            "surrogate of another width",
            lambda x: jnp.sum(
                rule(lambda u: (u > 0).astype(u.dtype), lambda r, ct: (ct / (1 + 2 * jnp.abs(r[0])) ** 2,))(x)
            ),
            (x,),
            "x",
            options={"reference": lambda x: jnp.sum(x / (1 + jnp.abs(x)))},
        ),
    ]
