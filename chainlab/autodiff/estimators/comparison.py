"""Compare ways to get a gradient: bias, variance, direction, cost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from chainlab.autodiff.estimators.operations import evaluations
from chainlab.autodiff.rules import backprop
from chainlab.errors import UsageError
from chainlab.typing import Batch, Objective, Params, PRNGKey, Rule

_ROUNDS = 5


@dataclass(frozen=True)
class Compared:
    r"""What was measured of one rule.

    Attributes:
        rule: Its name.
        bias: $|E g - \nabla f| / |\nabla f|$.
        bias_error: Standard error of `bias`: a bias below about twice of it is not distinguishable from none.
        variance: $E |g - E g|^2 / |\nabla f|^2$.
        cosine: Mean cosine of a draw to the exact gradient.
        evaluations: Arithmetic spent in the objective, relative to one evaluation.
        seconds: Median wall time of a gradient.
        memory: Bytes of XLA's plan for temporaries.
    """

    rule: str
    bias: float
    bias_error: float
    variance: float
    cosine: float
    evaluations: float
    seconds: float
    memory: int


@dataclass(frozen=True)
class Comparison:
    """The rules side by side."""

    rows: Sequence[Compared]
    samples: int

    def to_rows(self) -> list[dict[str, Any]]:
        """The table as dictionaries."""
        return [asdict(row) for row in self.rows]

    def table(self) -> Any:
        """The table for `rich.print`."""
        from rich.table import Table

        table = Table(title=f"gradient rules, {self.samples} draws each")
        table.add_column("rule", no_wrap=True)
        for name in ("bias", "variance", "cosine", "evaluations", "time", "memory"):
            table.add_column(name, justify="right")
        for row in self.rows:
            table.add_row(
                row.rule,
                f"{row.bias:.2g} ± {row.bias_error:.1g}",
                f"{row.variance:.3g}",
                f"{row.cosine:.3f}",
                f"{row.evaluations:.1f}",
                f"{row.seconds * 1e3:.3g} ms",
                f"{row.memory / 1024:.1f} KiB",
            )
        return table

    def __str__(self) -> str:
        """The table as text."""
        from rich.console import Console

        console = Console(width=110, color_system=None, record=True, file=None, quiet=False)
        with console.capture() as captured:
            console.print(self.table())
        return captured.get()

    def plot(self) -> Any:
        """A matplotlib figure: error of a draw against its cost, and bias with its standard error."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for row in self.rows:
            error = max(np.sqrt(row.bias**2 + row.variance), 1e-9)
            left.loglog(max(row.evaluations, 1e-3), error, "o", label=row.rule)
        left.set(xlabel="cost (evaluations of the objective)", ylabel="relative error of one draw")
        left.legend(fontsize="small")
        names = [row.rule for row in self.rows]
        right.barh(names, [row.bias for row in self.rows], xerr=[2 * row.bias_error for row in self.rows])
        right.set(xlabel="relative bias (bars: 2 standard errors)")
        right.invert_yaxis()
        return figure


def _name(rule: Rule, index: int) -> str:
    return getattr(rule, "__qualname__", f"rule {index}").split(".")[0]


def compare(
    objective: Objective,
    params: Params,
    batch: Batch,
    rules: Sequence[Rule] | Mapping[str, Rule],
    *,
    key: PRNGKey,
    exact: Objective | None = None,
    samples: int = 256,
) -> Comparison:
    r"""Compare gradient rules on one objective at one point.

    Args:
        objective: What is differentiated; a `Sampling` for rules that need to know how it samples.
        params: Where.
        batch: On what.
        rules: The rules, in a sequence or by name.
        key: Key of the draws.
        exact: An objective whose backpropagated gradient is the exact one; the objective itself where it is
            deterministic, the closed-form expectation where it samples.
        samples: Draws of each rule.

    Returns:
        The comparison: `print` it, or take `.to_rows()`, `.table()`, `.plot()`.

    Raises:
        UsageError: No rule, fewer than 2 samples, an objective that samples without `exact`, or a gradient that
            doesn't have the shape of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.autodiff import backprop, compare, forward
        >>> square = lambda params, batch, key: (jnp.sum(params**2), {})
        >>> result = compare(square, jnp.ones(3), None, [backprop, forward(1)], key=jax.random.key(0), samples=8)
        >>> [row["rule"] for row in result.to_rows()]
        ['backprop', 'forward']
    """
    named = dict(rules) if isinstance(rules, Mapping) else _unique(rules)
    if not named:
        raise UsageError("compare needs at least one rule")
    if samples < 2:
        raise UsageError(f"compare needs samples >= 2 to measure a variance, got {samples}")
    if exact is None:
        first, second = (objective(params, batch, k)[0] for k in jax.random.split(key))
        if not bool(jnp.allclose(first, second)):
            raise UsageError("the objective depends on its key: pass exact=, an objective that is its expectation")
        exact = objective
    truth = np.asarray(ravel_pytree(backprop(exact)(params, batch, key)[1])[0], np.float64)
    size = float(np.linalg.norm(truth))
    if not size > 0:
        raise UsageError("the exact gradient is zero here: nothing can be compared relative to it")
    rows = [_measure(name, rule, objective, params, batch, key, truth, samples) for name, rule in named.items()]
    return Comparison(tuple(rows), samples)


def _unique(rules: Sequence[Rule]) -> dict[str, Rule]:
    named: dict[str, Rule] = {}
    for index, rule in enumerate(rules):
        name = _name(rule, index)
        same = sum(k.split(" ")[0] == name for k in named)
        named[f"{name} {same + 1}" if same else name] = rule
    return named


def _temporaries(compiled: Any) -> int:
    plan = compiled.memory_analysis()
    return int(plan.temp_size_in_bytes) if plan is not None else 0


def _measure(
    name: str,
    rule: Rule,
    objective: Objective,
    params: Params,
    batch: Batch,
    key: PRNGKey,
    truth: np.ndarray,
    samples: int,
) -> Compared:
    gradient = rule(objective)
    shapes = jax.eval_shape(gradient, params, batch, key)[1]
    got, want = (jax.tree.map(lambda x: x.shape, t) for t in (shapes, jax.eval_shape(lambda p: p, params)))
    if got != want:
        raise UsageError(f"rule {name} returns a gradient of shapes {got} for parameters of shapes {want}")
    compiled = jax.jit(gradient).lower(params, batch, key).compile()
    draw = jax.jit(lambda key: ravel_pytree(gradient(params, batch, key)[1])[0])
    keys = jax.random.split(key, samples)
    draws = np.stack([np.asarray(draw(k), np.float64) for k in keys])
    times: list[float] = []
    for k in keys[:_ROUNDS]:
        began = time.perf_counter()
        jax.block_until_ready(compiled(params, batch, k))
        times.append(time.perf_counter() - began)
    size = float(np.linalg.norm(truth))
    mean = draws.mean(0)
    variance = float(np.sum((draws - mean) ** 2) / (samples - 1)) / size**2
    with np.errstate(invalid="ignore"):
        cosines = draws @ truth / (np.linalg.norm(draws, axis=1) * size)
    return Compared(
        name,
        float(np.linalg.norm(mean - truth)) / size,
        float(np.sqrt(variance / samples)),
        variance,
        float(np.mean(np.nan_to_num(cosines))),
        evaluations(rule, objective, params, batch, key),
        float(np.median(times)),
        _temporaries(compiled),
    )
