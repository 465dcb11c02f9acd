"""`diagnose`: what statistics of every layer cost, and whether each phase of a deep net gets its name."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from chainlab.experiments.benchmarks.timing import alternate

from chainlab.lab.bench import Row

_DEPTH, _WIDTH, _BATCH = 1000, 128, 128


Net = tuple[Callable[..., Any], Any, Any]


def nets(depth: int = _DEPTH, width: int = _WIDTH, batch: int = _BATCH) -> dict[str, Net]:
    """Deep nets by name: a scalar function of (params, x), its params and x."""
    import jax
    import jax.numpy as jnp

    def net(phi: Callable[[Any], Any], sigma: float, *, rezero: bool = False) -> Net:
        def f(params: Any, x: Any) -> Any:
            weights, biases, scales, head = params

            def layer(h: Any, p: Any) -> tuple[Any, None]:
                weight, bias, scale = p
                branch = phi(h @ weight + jnp.broadcast_to(bias, h.shape))
                return (h + scale * branch if rezero else branch), None

            h, _ = jax.lax.scan(layer, x, (weights, biases, scales))
            return jnp.mean((h @ head)[:, 0])

        keys = jax.random.split(jax.random.key(0), 3)
        weights = sigma / width**0.5 * jax.random.normal(keys[0], (depth, width, width))
        head = jax.random.normal(keys[1], (width, 10)) / width**0.5
        params = (weights, jnp.zeros((depth, width)), jnp.zeros(depth), head)
        return f, params, jax.random.normal(keys[2], (batch, width))

    return {
        "tanh, sigma_w 0.8": net(jnp.tanh, 0.8),
        "tanh, sigma_w 1.0": net(jnp.tanh, 1.0),
        "tanh, sigma_w 1.5": net(jnp.tanh, 1.5),
        "ReLU, He": net(jax.nn.relu, 2**0.5),
        "ReZero": net(jax.nn.relu, 2**0.5, rezero=True),
    }


_EXPECTED = {
    "tanh, sigma_w 0.8": ("ordered", {"vanishing"}),
    "tanh, sigma_w 1.0": ("critical", {"healthy", "vanishing", "collapsed"}),  # a random walk of finite width
    "tanh, sigma_w 1.5": ("chaotic", {"exploding"}),
    "ReLU, He": ("critical", {"collapsed"}),
    "ReZero": ("critical", {"healthy"}),
}


def phases() -> list[Row]:
    """Name the phase and the problem of five 1,000-layer nets."""
    import chainlab

    began, right, found = time.perf_counter(), 0, []
    for name, (f, params, x) in nets().items():
        diagnosis = chainlab.diagnose(f)(params, x)
        phase, verdicts = _EXPECTED[name]
        right += diagnosis.phase == phase and diagnosis.verdict in verdicts
        found.append(
            f"{name}: {diagnosis.phase}, {diagnosis.verdict}" + (f" at {diagnosis.first}" if diagnosis.first else "")
        )
    seconds = time.perf_counter() - began
    return [
        Row(
            "diagnose/phases",
            f"phases of five {_DEPTH}-layer nets named correctly",
            right,
            ">= 5",
            note="; ".join(found),
        ),
        Row("diagnose/phases-seconds", "seconds for the five diagnoses, compile included", seconds, "<= 60"),
    ]


def cost(rounds: int) -> list[Row]:
    """Statistics of every layer over a plain jitted gradient, interleaved."""
    import jax
    import numpy as np

    from chainlab.autodiff.diagnosis.program import trace

    rows: list[Row] = []
    for name in ("tanh, sigma_w 1.0", "ReZero"):
        f, params, x = nets()[name]
        plain = jax.jit(jax.value_and_grad(f))
        watched = jax.jit(trace(f, 0, has_aux=False, cotangent=None, args=(params, x)).run)
        programs = {"plain": plain, "watched": watched}
        value, gradient = jax.block_until_ready(plain(params, x))
        same_value, same_gradient, _ = jax.block_until_ready(watched(params, x))
        np.testing.assert_allclose(same_value, value, rtol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-12), same_gradient, gradient)
        forms = {
            name: lambda run=run, at=(params, x): jax.block_until_ready(run(*at)) for name, run in programs.items()
        }
        seconds = alternate(forms, 2 * rounds)
        paired = [w / p for w, p in zip(seconds["watched"], seconds["plain"], strict=True)]
        case = f"statistics of all {_DEPTH} layers over a plain gradient, {name}, width {_WIDTH}, batch {_BATCH}"
        note = f"plain gradient {1e3 * statistics.median(seconds['plain']):.0f} ms"
        spread = (min(paired), max(paired))
        rows.append(Row("diagnose/cost", case, statistics.median(paired), "<= 1.2", spread=spread, note=note))
    return rows


def bench(rounds: int = 9) -> list[Row]:
    """Every figure of `diagnose`."""
    return [*phases(), *cost(rounds)]
