r"""Is a stochastic estimator of a gradient unbiased?

For each coordinate the mean of $n$ draws is held against the exact gradient with a t interval. A coordinate is
rejected where even a bias of `negligible` times its size does not explain the mean,

$$p_i = 2\, P\big(T_{n-1} > (|\bar d_i| - \delta_i) / \mathrm{se}_i\big), \qquad d = g - \nabla f,$$

by Holm's procedure over coordinates, at a level that is shared out over the looks. Sampling goes on until the
bias that is asked for would have been seen everywhere, or the budget is spent.

References:
    S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainlab.autodiff.checking.arguments import Arguments
from chainlab.autodiff.checking.derivative import pack
from chainlab.autodiff.checking.report import Estimation, Finding
from chainlab.errors import UsageError
from chainlab.typing import PRNGKey

_FIRST = 1024
_GROWTH = 4
_CHUNK = 4096  # draws in a compiled call, at most
_VALUES = 2**22  # gradient entries in a compiled call, at most
_POWER = 1.645  # normal quantile of 95 %: a bias counts as detectable if it is seen that often
_SETTLED = 16_384  # draws after which a rejection ends the sampling


def _leaves(arguments: Arguments, gradient: Any) -> list[Any]:
    leaves = [g for g in jax.tree.leaves(gradient) if jnp.issubdtype(g.dtype, jnp.inexact) and g.size]
    got, want = [g.shape for g in leaves], [leaf.shape for leaf in arguments.leaves]
    if got != want:
        names = ", ".join(f"{leaf.path} {leaf.shape}" for leaf in arguments.leaves)
        raise UsageError(
            f"estimator(key, *args) must return a gradient with the leaves {names}; got shapes {got}. "
            "Name the arguments that it differentiates with argnums="
        )
    return leaves


def _moments(
    estimator: Callable[..., Any], arguments: Arguments, exact: np.ndarray
) -> tuple[Callable[[PRNGKey], tuple[np.ndarray, np.ndarray]], int]:
    """A compiled call that draws a chunk and returns mean and variance of its distance to the exact gradient."""
    args = arguments.rebuild(arguments.values)
    chunk = int(np.clip(_VALUES // arguments.size, 16, _CHUNK))
    target = jnp.asarray(exact.astype(np.float32))

    def one(key: PRNGKey) -> Any:
        gradient = pack(arguments, _leaves(arguments, estimator(key, *args)))
        return gradient.astype(jnp.float32) - target

    def many(key: PRNGKey) -> Any:
        distances = jax.vmap(one)(jax.random.split(key, chunk))
        mean = jnp.mean(distances, 0)
        return mean, jnp.mean((distances - mean[None]) ** 2, 0)

    return jax.jit(many), chunk


def _holm(p: np.ndarray, alpha: float) -> np.ndarray:
    order = np.argsort(p)
    passed = p[order] <= alpha / (len(p) - np.arange(len(p)))
    rejected = np.zeros(len(p), bool)
    rejected[order[: len(p) if passed.all() else int(np.argmin(passed))]] = True
    return rejected


def _looks(chunk: int, draws: int) -> list[int]:
    looks, total = [], max(_FIRST, chunk)
    while total < draws:
        looks.append(total)
        total *= _GROWTH
    return [*looks, max(draws, chunk)]


def check_estimator(
    estimator: Callable[..., Any],
    arguments: Arguments,
    exact: np.ndarray,
    key: PRNGKey,
    *,
    alpha: float,
    draws: int,
    negligible: float,
    detect: float,
) -> tuple[list[Finding], Estimation]:
    """Test every coordinate of an estimator against the exact gradient.

    Args:
        estimator: `estimator(key, *args) -> gradient`.
        arguments: The differentiated leaves.
        exact: The exact gradient, as a vector.
        key: Key of the draws.
        alpha: Probability of rejecting any coordinate of an unbiased estimator.
        draws: Budget.
        negligible: Relative bias that is accepted.
        detect: Relative bias that has to be seen before the sampling may end early.

    Returns:
        The biased coordinates, and what was measured.

    Raises:
        UsageError: The estimator's gradient does not have the leaves of the arguments.
    """
    from scipy import stats

    began = time.perf_counter()
    moments, chunk = _moments(estimator, arguments, exact)
    scale = np.empty_like(exact)
    for leaf in arguments.leaves:
        part = np.abs(exact[leaf.start : leaf.stop])
        scale[leaf.start : leaf.stop] = np.maximum(part, 0.25 * np.sqrt(np.mean(part**2)))
    scale = np.maximum(scale, 1e-12 + 1e-6 * scale.max())
    margin = negligible * scale
    looks = _looks(chunk, draws)
    level = alpha / len(looks)
    size = len(exact)

    count, mean, square = 0, np.zeros(size), np.zeros(size)
    sampling = 0.0
    rejected, detectable = np.zeros(size, bool), np.full(size, np.inf)
    deviation, critical = np.full(size, np.inf), 0.0
    for look in looks:
        while count < look:
            key, now = jax.random.split(key)
            started = time.perf_counter()
            part_mean, part_variance = (np.asarray(x, np.float64) for x in moments(now))
            sampling += time.perf_counter() - started if count else 0.0
            if not np.all(np.isfinite(part_mean)):
                return _broken(arguments, exact, part_mean), _estimation(
                    arguments, count + chunk, began, 0.0, part_mean, part_variance, scale, detectable
                )
            total = count + chunk
            step = part_mean - mean
            square += part_variance * chunk + step**2 * count * chunk / total
            mean += step * chunk / total
            count = total
        deviation = np.sqrt(square / (count - 1) / count) + 2e-7 * scale
        p = 2 * stats.t.sf((np.abs(mean) - margin) / deviation, count - 1)
        rejected = _holm(np.minimum(p, 1.0), level)
        critical = float(stats.t.isf(level / size / 2, count - 1))
        detectable = (margin + (critical + _POWER) * deviation) / scale
        if (rejected.any() and count >= _SETTLED) or np.all(detectable <= detect):
            break
    variance = square / (count - 1)
    interval = margin + critical * deviation
    findings = _findings(arguments, exact, mean, interval, rejected, count)
    each = sampling / max(count - chunk, 1)
    return findings, _estimation(arguments, count, began, each, mean, variance, scale, detectable)


def _broken(arguments: Arguments, exact: np.ndarray, mean: np.ndarray) -> list[Finding]:
    findings: list[Finding] = []
    for i in np.flatnonzero(~np.isfinite(mean)).tolist():
        leaf = arguments.leaf_of(i)
        hint = "some draws of the estimator are not finite"
        findings.append(Finding("non-finite", leaf.path, leaf.index(i), float("nan"), float(exact[i]), 0.0, hint))
    return findings


def _findings(
    arguments: Arguments,
    exact: np.ndarray,
    mean: np.ndarray,
    interval: np.ndarray,
    rejected: np.ndarray,
    count: int,
) -> list[Finding]:
    findings: list[Finding] = []
    for leaf in arguments.leaves:
        wrong = [
            i for i in np.argsort(-np.abs(mean) / interval).tolist() if rejected[i] and leaf.start <= i < leaf.stop
        ]
        hint = _hint(exact, mean, interval, wrong, all(rejected[leaf.start : leaf.stop]))
        findings += [
            Finding(
                "biased",
                leaf.path,
                leaf.index(i),
                float(exact[i] + mean[i]),
                float(exact[i]),
                float(interval[i]),
                f"{hint} ({count} draws)",
            )
            for i in wrong
        ]
    return findings


def _hint(exact: np.ndarray, mean: np.ndarray, interval: np.ndarray, wrong: Sequence[int], every: bool) -> str:
    if not wrong:
        return ""
    want, got, room = exact[wrong], exact[wrong] + mean[wrong], interval[wrong]
    if np.all(np.abs(got) <= room):
        return "the mean is zero: it looks like a stopped gradient"
    if np.all(np.abs(got + want) <= room):
        return "it looks like a wrong sign"
    if np.all(want != 0):
        ratio = float(np.sum(got * want) / np.sum(want * want))
        if np.all(np.abs(got - ratio * want) <= room):
            where = "the leaf" if every else "the coordinates named here"
            return f"the mean is about {ratio:.3g} times the gradient on {where}: it looks like a factor"
    return "the bias is no factor of the gradient: it looks like a missing or a stopped term"


def _estimation(
    arguments: Arguments,
    count: int,
    began: float,
    each: float,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    detectable: np.ndarray,
) -> Estimation:
    rows: dict[str, dict[str, float]] = {}
    for leaf in arguments.leaves:
        part = slice(leaf.start, leaf.stop)
        rows[leaf.path] = {
            "bias": float(np.max(np.abs(mean[part]) / scale[part])),
            "variance": float(np.mean(variance[part])),
            "detectable": float(np.max(detectable[part])),
        }
    return Estimation(count, time.perf_counter() - began, each, rows)
