"""Random functions with a random corruption of a correct derivative, and random functions without one.

The suite of planted mistakes was written beside the checker, so its score is that of a tuned checker. Here
the functions, the leaf, the corruption and its place are drawn at random from a seed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chainlab.experiments.benchmarks.mistakes import Case, rule

_POINTWISE: dict[str, Callable[..., Any]] = {
    "sin": jnp.sin,
    "tanh": jnp.tanh,
    "cube": lambda x: x**3,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "x|x|": lambda x: x * jnp.abs(x),
    "hypot": lambda x: jnp.sqrt(x**2 + 1),
    "gelu": jax.nn.gelu,
    "exp": lambda x: jnp.exp(0.3 * jnp.tanh(x)),
    "relu": jax.nn.relu,
    "atan2": lambda x: jnp.arctan2(x, 1 + x**2),
    "cosine": lambda x: jnp.cos(3 * x),
}


def _recurrence(u: Any, xs: Any) -> Any:
    def body(h: Any, x: Any) -> Any:
        h = jnp.tanh(u @ h + x)
        return h, h

    return jax.lax.scan(body, jnp.zeros(u.shape[0], u.dtype), xs)[1]


def _structured(random: np.random.Generator) -> tuple[str, Callable[..., Any], list[tuple[int, ...]]]:
    n, m = (int(i) for i in random.integers(2, 7, 2))
    table: list[tuple[str, Callable[..., Any], list[tuple[int, ...]]]] = [
        ("matmul", lambda a, b: a @ b, [(n, m), (m, n)]),
        ("bias", lambda x, b: jnp.tanh(x + b[None]), [(n, m), (m,)]),
        ("scale", lambda x, g: x * g[:, None], [(n, m), (n,)]),
        ("softmax", lambda x: jax.nn.softmax(x, axis=-1), [(n, m)]),
        ("layer norm", lambda x, g: g * (x - x.mean()) / jnp.sqrt(x.var() + 1e-3), [(m + 2,), (m + 2,)]),
        ("cumsum", lambda x: jnp.cumsum(x), [(m + 3,)]),
        ("recurrence", _recurrence, [(n, n), (m + 2, n)]),
        ("outer", lambda a, b: jnp.sin(a[:, None] * b[None]), [(n,), (m,)]),
        ("convolution", lambda a, k: jnp.convolve(a, k), [(m + 5,), (3,)]),
        ("logsumexp", lambda x: jax.scipy.special.logsumexp(x, axis=-1), [(n, m)]),
        ("normalise", lambda x: x / jnp.linalg.norm(x), [(m + 1,)]),
        ("gather", lambda x: x[jnp.array([0, 1, 1, 0])] ** 2, [(m + 1,)]),
        ("attention", lambda q, k: jax.nn.softmax(q @ k.T, axis=-1) @ k, [(n, m), (n, m)]),
        ("scalar gain", lambda x, s: jnp.sin(s * x), [(n, m), ()]),
        ("large", lambda x, b: jnp.tanh(x) * b, [(2000,), (2000,)]),
    ]
    return table[int(random.integers(len(table)))]


_Corrupt = Callable[[list[Any], tuple[Any, ...], int, Callable[..., Any], Any], list[Any]]


def _corruptions(random: np.random.Generator) -> dict[str, _Corrupt]:
    factor = float(random.choice([0.5, 2.0, 0.9, 1.01, 3.0, 1 / 3]))
    place = float(random.uniform())
    shift = int(random.choice([-1, 1]))

    def on(change: Callable[[Any, Any], Any]) -> _Corrupt:
        def apply(cts: list[Any], args: tuple[Any, ...], k: int, _: Callable[..., Any], __: Any) -> list[Any]:
            cts[k] = change(cts[k], args[k])
            return cts

        return apply

    def at(g: Any, value: Callable[[Any], Any]) -> Any:
        flat = jnp.ravel(g)
        i = int(place * flat.size)
        return flat.at[i].set(value(flat[i])).reshape(g.shape)

    def transposed(g: Any, _: Any) -> Any:
        return g.T if g.ndim == 2 and g.shape[0] == g.shape[1] else jnp.flip(g)

    def stale(cts: list[Any], args: tuple[Any, ...], k: int, f: Callable[..., Any], ct: Any) -> list[Any]:
        old = tuple(0.8 * a + 0.1 if i == k else a for i, a in enumerate(args))
        cts[k] = jax.vjp(f, *old)[1](ct)[k]
        return cts

    def swapped(cts: list[Any], _: tuple[Any, ...], k: int, __: Callable[..., Any], ___: Any) -> list[Any]:
        for j, g in enumerate(cts):
            if j != k and g.shape == cts[k].shape:
                cts[k] = g
                return cts
        cts[k] = -cts[k]
        return cts

    return {
        "factor": on(lambda g, x: factor * g),
        "sign": on(lambda g, x: -g),
        "one coordinate off by 0.1 %": on(lambda g, x: at(g, lambda v: 1.001 * v)),
        "one coordinate zero": on(lambda g, x: at(g, jnp.zeros_like)),
        "one coordinate nan": on(lambda g, x: at(g, lambda v: v * jnp.nan)),
        "stopped": on(lambda g, x: jnp.zeros_like(g)),
        "transposed or reversed": on(transposed),
        "shifted": on(lambda g, x: jnp.roll(g, shift, 0) if g.ndim else 1.1 * g),
        "region": on(lambda g, x: jnp.where(x > jnp.median(x), 1.2 * g, g) if g.size > 1 else 1.2 * g),
        "constant added": on(lambda g, x: g + 0.05),
        "term in x added": on(lambda g, x: g + 0.1 * x),
        "last row lost": on(lambda g, x: g.at[-1].set(0.0) if g.ndim else 0.0 * g),
        "mean for sum": on(lambda g, x: g / max(g.size, 2)),
        "broadcast of the mean": on(lambda g, x: jnp.mean(g) + jnp.zeros_like(g) if g.size > 1 else 0.7 * g),
        "rounded to two digits": on(lambda g, x: jnp.round(g, 1)),
        "clipped": on(lambda g, x: jnp.clip(g, -0.3, 0.3)),
        "stale residual": stale,
        "swapped": swapped,
    }


def _inside(function: Callable[..., Any], names: list[str], outer: Callable[..., Any], weights: Any, gain: float):
    def objective(params: Any) -> Any:
        y = function(*(gain * jnp.tanh(params[n] / gain) for n in names))
        return jnp.sum(outer(y) * weights[: y.size].reshape(y.shape)) + 0.1 * jnp.sum(params["other"] ** 2)

    return objective


def mutant(seed: int) -> tuple[Case, set[tuple[int, ...]]] | None:
    """A random function with a random corruption.

    Returns:
        The case, whose `wrong` coordinates have to be found, and all coordinates that may be: those that are
        wrong by less than 0.08 %, or whose gradient is a thousandth of the leaf's largest. None where the draw
        changed nothing to speak of (a coordinate whose gradient is zero).
    """
    random = np.random.default_rng(seed)
    name, function, shapes = _structured(random)
    if random.uniform() < 0.35:
        name = str(random.choice(list(_POINTWISE)))
        function, shapes = _POINTWISE[name], [tuple(int(i) for i in random.integers(1, 6, int(random.integers(0, 3))))]
    k = int(random.integers(len(shapes)))
    table = _corruptions(random)
    what = str(random.choice(list(table)))
    corrupt = table[what]

    def backward(args: tuple[Any, ...], ct: Any) -> tuple[Any, ...]:
        return tuple(corrupt(list(jax.vjp(function, *args)[1](ct)), args, k, function, ct))

    names = [f"p{i}" for i in range(len(shapes))]
    scale = float(10 ** random.uniform(-0.7, 0.7))
    params = {n: jnp.asarray(scale * random.normal(size=s), jnp.float32) for n, s in zip(names, shapes, strict=True)}
    params["other"] = jnp.asarray(random.normal(size=3), jnp.float32)
    outer = _POINTWISE[str(random.choice(list(_POINTWISE)))]
    weights = jnp.asarray(random.uniform(0.3, 1.7, 5000), jnp.float32)
    right = _inside(function, names, outer, weights, 3 * scale)
    wrong = _inside(rule(function, backward), names, outer, weights, 3 * scale)
    leaf = f"p{k}"
    truth, got = (np.asarray(jax.grad(f)(params)[leaf], np.float64) for f in (right, wrong))
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.maximum(np.abs(truth), np.abs(got))
        error = np.where(np.isfinite(got), np.abs(got - truth) / np.where(size > 0, size, 1.0), np.inf)
        wrong_here = (error > 8e-4) & ~(size < 1e-3 * np.max(np.abs(truth)))
    if not np.any(wrong_here):
        return None
    case = Case(
        f"{name}: {what}", wrong, (params,), f"params['{leaf}']", list(map(tuple, np.argwhere(wrong_here).tolist()))
    )
    return case, set(map(tuple, np.argwhere(error > 1e-5).tolist()))


def _exponentials(x: Any) -> Any:
    return jnp.exp(x - jax.lax.stop_gradient(jnp.max(x)))


_AWKWARD: dict[str, Callable[..., Any]] = {
    "relu": jax.nn.relu,
    "abs": jnp.abs,
    "clip": lambda x: jnp.clip(x, -0.5, 0.5),
    "maximum with a shift": lambda x: jnp.maximum(x, jnp.roll(jnp.ravel(x), 1).reshape(x.shape)),
    "bfloat16": lambda x: x.astype(jnp.bfloat16).astype(x.dtype),
    "float16": lambda x: (0.1 * jnp.tanh(x)).astype(jnp.float16).astype(x.dtype),
    "fast sine": lambda x: jnp.sin(300.0 * x),
    "leaky": lambda x: jax.nn.leaky_relu(x, 0.01),
    "sort": lambda x: jnp.sort(jnp.ravel(x)).reshape(x.shape),
    "log1p": lambda x: jnp.log1p(jnp.abs(x)),
    "sqrt": lambda x: jnp.sqrt(jnp.abs(x) + 1e-3),
    "square": jnp.square,
    "power": lambda x: jnp.abs(x) ** 1.5,
    "large sum": lambda x: x + jnp.mean(x[..., None] * jnp.ones(500)),
    "logsumexp": lambda x: x - jax.scipy.special.logsumexp(jnp.ravel(x)),
    "softmax": lambda x: jax.nn.softmax(30 * x, axis=-1) if x.ndim else x,
    "stop maximum": lambda x: _exponentials(x) / jnp.sum(_exponentials(x)),
    "scan": lambda x: jax.lax.scan(lambda c, r: (jnp.sin(c + r), c), jnp.zeros((), x.dtype), jnp.ravel(x))[1].reshape(
        x.shape
    ),
    "masked": lambda x: jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), 0.0) * jnp.where(x > 0, x, 0.0),
    "top": lambda x: x * (jax.lax.top_k(jnp.ravel(x), 1)[0][0]),
    "erf": jax.scipy.special.erf,
    "smooth l1": lambda x: jnp.where(jnp.abs(x) < 1, 0.5 * x**2, jnp.abs(x) - 0.5),
    "remainder": lambda x: jnp.cos(2 * jnp.pi * (x - 1.0)),
    "hinge": lambda x: jnp.maximum(0.0, 1 - x),
}


def control(seed: int) -> Case:
    """A random correct function: awkward pieces, scales from 1e-8 to 1e8, offsets, narrow dtypes, other leaves."""
    random = np.random.default_rng(seed)
    pool = {**_POINTWISE, **_AWKWARD}
    names = [str(n) for n in random.choice(list(pool), int(random.integers(1, 4)))]
    shape = tuple(int(i) for i in random.integers(1, 6, int(random.integers(0, 3))))
    dtype = [jnp.float32, jnp.float32, jnp.float32, jnp.bfloat16, jnp.float16][int(random.integers(5))]
    scale = float(10 ** random.uniform(-8, 8)) if dtype == jnp.float32 and random.uniform() < 0.4 else 1.0
    offset = float(random.choice([0.0, 0.0, 1.0, 1e4, 1e8]))
    values = random.normal(size=shape)
    if random.uniform() < 0.3:  # on or beside a kink
        values = np.round(values) + random.choice([0.0, 1e-7, -1e-6], size=shape)
    declared = random.uniform() < 0.3
    rows = jnp.asarray(random.integers(0, 3, 4))

    def chain(x: Any) -> Any:
        for name in names:
            x = pool[name](x).astype(x.dtype)
        return x

    inner = rule(chain, lambda args, ct: jax.vjp(chain, *args)[1](ct)) if declared else chain

    def objective(params: Any, key: Any, label: str) -> Any:
        assert label == "static"
        y = inner((params["x"] / jnp.asarray(scale, dtype)).astype(dtype)).astype(jnp.float32)
        noise = jax.random.normal(key, (3,))
        return jnp.sum(y) * 0.5 + offset + jnp.sum(params["b"][params["rows"]] * noise[0])

    params = {"x": jnp.asarray(values * scale, dtype), "b": jnp.arange(3.0), "rows": rows, "empty": jnp.zeros((0, 2))}
    text = " > ".join(names) + f" {jnp.dtype(dtype).name} scale {scale:.0e} offset {offset:.0e} {shape}"
    return Case(text, objective, (params, jax.random.key(seed), "static"))
