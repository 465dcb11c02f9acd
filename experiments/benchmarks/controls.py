"""Correct derivatives that are easily taken for wrong ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chainlab.experiments.benchmarks.mistakes import Case, rule


def _newton(x: Any) -> Any:
    """Square root by Newton's method, differentiated by the implicit function theorem."""

    def root(x: Any) -> Any:
        start = jnp.maximum(x, 1.0)
        return jax.lax.fori_loop(0, 30, lambda _, y: 0.5 * (y + x / y), start)

    solve = rule(root, lambda r, ct: (ct / (2 * root(r[0])),))
    return jnp.sum(solve(x))


def _recurrent(p: Any, x: Any) -> Any:
    def body(h: Any, row: Any) -> Any:
        h = jnp.tanh(p["u"] @ h + p["w"] @ row)
        return h, h

    return jnp.mean(jax.lax.scan(body, jnp.zeros(3, x.dtype), x)[1] ** 2)


def _branching(x: Any) -> Any:
    return jax.lax.cond(jnp.sum(x) > 0, lambda x: jnp.sum(jnp.sin(x)), lambda x: jnp.sum(x**2), x)


def _dropout(x: Any, key: Any) -> Any:
    return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.7, x.shape), x / 0.7, 0.0) ** 2)


def _attention(q: Any, k: Any, v: Any) -> Any:
    scores = jnp.where(jnp.tril(jnp.ones((5, 5), bool)), q @ k.T / 2.0, -jnp.inf)
    return jnp.sum(jax.nn.softmax(scores, axis=-1) @ v * jnp.arange(4.0))


def correct() -> list[Case]:
    """The controls."""
    random = np.random.default_rng(1)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    x = normal(6)
    tanh = rule(jnp.tanh, lambda r, ct: (ct * (1 - jnp.tanh(r[0]) ** 2),))
    spike = rule(lambda u: (u > 0).astype(u.dtype), lambda r, ct: (ct / (1 + jnp.abs(r[0])) ** 2,))
    through = rule(jnp.round, lambda r, ct: (ct,))
    net = {"w": normal(5, 8), "b": jnp.zeros(8), "v": normal(8, 3)}
    batch = normal(8, 5)
    spread = jnp.asarray(10.0 ** np.arange(-8, 9), jnp.float32)

    def mlp(p: Any, x: Any) -> Any:
        return jnp.mean(jnp.square(jax.nn.relu(x @ p["w"] + p["b"]) @ p["v"]))

    def norm(x: Any) -> Any:
        safe = jnp.where(jnp.sum(x**2) > 0, jnp.sum(x**2), 1.0)
        return jnp.where(jnp.sum(x**2) > 0, jnp.sqrt(safe), 0.0)

    return [
        Case("relu at its kink", lambda x: jnp.sum(jax.nn.relu(x) * jnp.arange(-2.0, 2.0)), (jnp.zeros(4),)),
        Case("abs at its kink", lambda x: jnp.sum(jnp.abs(x)), (jnp.array([0.0, 1.0, -2.0]),)),
        Case("maximum with ties", lambda x: jnp.max(x), (jnp.array([1.0, 1.0, 1.0, 0.5]),)),
        Case("minimum(x, y) at equality", lambda x, y: jnp.sum(jnp.minimum(x, y)), (x, x)),
        Case("relu just beside its kink", lambda x: jnp.sum(jax.nn.relu(x)), (jnp.array([1e-7, -1e-7, 1e-4, 1.0]),)),
        Case("clip at its edge", lambda x: jnp.sum(jnp.clip(x, 0.0, 1.0) ** 2), (jnp.array([0.0, 1.0, 0.5, 2.0]),)),
        Case("sort and median with ties", lambda x: jnp.sort(x)[1] + jnp.median(x), (jnp.array([1.0, 1.0, 2.0, 0.0]),)),
        Case("sum of 100,000 in float32", lambda x: jnp.sum(x), (jnp.full(100_000, 0.1),)),
        Case("mean square of 20,000", lambda x: jnp.mean(x**2), (normal(20_000),)),
        Case("cast through bfloat16", lambda x: jnp.sum(x.astype(jnp.bfloat16).astype(jnp.float32) ** 2), (x,)),
        Case("bfloat16 throughout", lambda x: jnp.sum(jnp.tanh(x) ** 2), (x.astype(jnp.bfloat16),)),
        Case("float16 exponential", lambda x: jnp.sum(jnp.exp(x)), (x.astype(jnp.float16),)),
        Case("masked softmax", _attention, (normal(5, 4), normal(5, 4), normal(5, 4))),
        Case(
            "softmax cross entropy, large logits",
            lambda x: -jax.nn.log_softmax(x)[2],
            (jnp.array([1e3, -1e3, 5.0, 1e3]),),
        ),
        Case(
            "surrogate spike with its relaxation",
            lambda x: jnp.sum(spike(x)),
            (x,),
            options={"reference": lambda x: jnp.sum(x / (1 + jnp.abs(x)))},
        ),
        Case(
            "straight-through round with its relaxation",
            lambda x: jnp.sum(3 * through(x)),
            (x,),
            options={"reference": lambda x: jnp.sum(3 * x)},
        ),
        Case("sqrt near zero", lambda x: jnp.sum(jnp.sqrt(x)), (jnp.array([1e-12, 1e-6, 1.0]),)),
        Case("safe norm away from zero", norm, (x,)),
        Case("logsumexp", lambda x: jax.nn.logsumexp(x), (jnp.array([1000.0, 1000.5, -1000.0]),)),
        Case("scan", _recurrent, ({"u": normal(3, 3), "w": normal(3, 2)}, normal(10, 2))),
        Case("cond", _branching, (jnp.abs(x),)),
        Case(
            "while, forward mode",
            lambda x: jax.lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1].sum(),
            (x,),
            options={"mode": "fwd"},
        ),
        Case("implicit derivative of an iteration", _newton, (jnp.array([0.5, 2.0, 9.0]),)),
        Case("custom rule (tanh)", lambda x: jnp.sum(tanh(x)), (x,)),
        Case("relu network", mlp, (net, batch)),
        Case("dropout with a key argument", _dropout, (x, jax.random.key(3))),
        Case(
            "integer and static leaves",
            lambda p: jnp.sum(p["x"][p["i"]] * p["n"]),
            ({"x": x, "i": jnp.array([0, 2, 2]), "n": 3, "empty": jnp.zeros((0, 3))},),
        ),
        Case("value 1e8 times its slope", lambda x: 1e8 + jnp.sum(x**2), (x,)),
        Case("scales from 1e-8 to 1e8", lambda x: jnp.sum(jnp.sin(x / spread) * spread), (spread,)),
        Case("high frequency", lambda x: jnp.sum(jnp.sin(1e4 * x)), (x,)),
        Case(
            "ill-conditioned solve",
            lambda b: jnp.sum(jnp.linalg.solve(jnp.array([[1.0, 0.999], [0.999, 0.998]]), b) ** 2),
            (normal(2),),
        ),
        Case("cholesky and log determinant", lambda a: jnp.linalg.slogdet(a @ a.T + jnp.eye(4))[1], (normal(4, 4),)),
        Case("complex input", lambda z: jnp.sum(jnp.abs(jnp.exp(1j * z)) ** 2), (x + 1j * normal(6),)),
        Case("fft", lambda x: jnp.sum(jnp.abs(jnp.fft.rfft(x)) ** 2 * jnp.arange(4.0)), (x,)),
        Case("second derivative", lambda x: jnp.sum(jnp.sin(x) * x[0]), (x,), options={"order": 2}),
        Case("saturated tanh", lambda x: jnp.sum(jnp.tanh(x)), (jnp.array([20.0, -15.0, 0.1]),)),
        Case("remat inside jit", jax.jit(lambda x: jnp.sum(jax.checkpoint(jnp.sin)(x) ** 2)), (x,)),
    ]
