"""The gradient of a function with what happened to it in every layer."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from chainlab.autodiff.diagnosis.phase import Phase, Rate, rate
from chainlab.autodiff.diagnosis.program import LayerName, Program, Statistics, trace
from chainlab.autodiff.diagnosis.verdict import Chain, Finding, findings


@dataclass(frozen=True)
class Layer:
    """One layer and its statistics; see `Statistics` for what they mean."""

    name: str
    kind: str
    shape: tuple[int, ...]
    source: str
    statistics: dict[str, float]


@dataclass(frozen=True)
class Diagnosis:
    """A value, its gradients, and what every layer did to both.

    Attributes:
        value: What the function returned (without its auxiliary part).
        gradients: The gradients, as `jax.grad` gives them for the same `argnums`.
        names: The layers in the order of execution.
        statistics: Their statistics, NumPy arrays with one entry a layer.
        dtype: The type the layers compute in.
    """

    value: Any
    gradients: PyTree
    names: Sequence[LayerName]
    statistics: Statistics
    dtype: str

    @property
    def layers(self) -> list[Layer]:
        """Every layer with its statistics."""
        columns = {name: np.asarray(column).tolist() for name, column in self.statistics._asdict().items()}
        columns.pop("executed")
        return [
            Layer(*name[:4], {column: values[index] for column, values in columns.items()})
            for index, name in enumerate(self.names)
        ]

    @functools.cached_property
    def chain(self) -> Chain:
        """The layers that lie one behind the other: the carries of scans where there are any, else all."""
        chosen = np.asarray([name.stream for name in self.names])
        if chosen.sum() < 3:
            chosen = np.ones(len(self.names), bool)
        return self._select(chosen & ~np.isnan(self.statistics.adjoint_zeros))

    def _select(self, chosen: np.ndarray) -> Chain:
        names = [name for name, flag in zip(self.names, chosen, strict=True) if flag]
        return Chain(names, jax.tree.map(lambda column: column[chosen], self.statistics), self.dtype)

    @functools.cached_property
    def findings(self) -> list[Finding]:
        """What is wrong, the gravest first; empty when nothing is."""
        return findings(self.chain, self._select(np.ones(len(self.names), bool)), self.phase)

    @functools.cached_property
    def rate(self) -> Rate | None:
        """The adjoint's exponential rate and phase, where there are layers enough."""
        if not self.chain.names:
            return None
        return rate(self.chain.statistics.adjoint_rms, min(name.width for name in self.chain.names))

    @property
    def phase(self) -> Phase | None:
        """`ordered`, `critical` or `chaotic`: does the adjoint shrink, stay or grow on its way to the input."""
        return self.rate.phase if self.rate else None

    @property
    def verdict(self) -> str:
        """The gravest problem, or `healthy`."""
        return self.findings[0].problem if self.findings else "healthy"

    @property
    def first(self) -> str | None:
        """Name of the layer where the gravest problem begins."""
        return self.findings[0].layer if self.findings else None

    def to_text(self, *, rows: int = 12) -> str:
        """The verdict, the findings with advice, and a depth profile.

        Args:
            rows: How many layers of the chain the profile shows, evenly spaced.

        Returns:
            Plain text.
        """
        from chainlab.autodiff.diagnosis.render import text

        return text(self, rows)

    def to_json(self) -> str:
        """The verdict, the findings and all statistics as JSON; numbers that are not finite become strings.

        Returns:
            A JSON object.
        """

        def clean(value: Any) -> Any:
            if isinstance(value, float) and not np.isfinite(value):
                return None if np.isnan(value) else str(value)
            if isinstance(value, dict):
                return {key: clean(item) for key, item in value.items()}
            if isinstance(value, list):
                return [clean(item) for item in value]
            return value

        found = [{**vars(f), "advice": [a._asdict() for a in f.advice]} for f in self.findings]
        content = {
            "verdict": self.verdict,
            "phase": self.phase,
            "rate": vars(self.rate) if self.rate else None,
            "findings": found,
            "layers": [{**name._asdict(), "shape": list(name.shape)} for name in self.names],
            "statistics": {
                column: [float(f"{value:.7g}") for value in values]
                for column, values in self.statistics._asdict().items()
                if column != "executed"
            },
        }
        return json.dumps(clean(content))

    def figure(self) -> Any:
        """A depth profile: size of values and adjoints, and the shares, against the layer.

        Returns:
            A matplotlib figure.
        """
        from chainlab.autodiff.diagnosis.render import figure

        return figure(self)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_text())}</pre>"


def diagnose(
    f: Callable[..., Any],
    *,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    cotangent: PyTree | None = None,
) -> Callable[..., Diagnosis]:
    r"""Differentiate a function and say where its gradient lives and where it dies.

    A layer is the output of a matrix product or convolution, an activation, the carry of a scan at every
    index, or a value named by `tap`. With $h_l$ the value of layer $l$, one compiled pass gives the size of
    $h_l$ and of its adjoint $\delta_l = \partial f / \partial h_l$, the shares of entries that are 0, dead or
    saturated, and how alike the rows of $h_l$ are. The function is not edited: taps are put into its jaxpr, through
    `jit`, `scan`, `cond` and `remat`; a function with a custom derivative is one layer.

    Features are the last axis of a value (for $W x$ the rows of $W$, for a convolution its channels) and all other
    axes are rows, that is, examples or tokens.

    Args:
        f: Any JAX function.
        argnums: The arguments that are differentiated, as in `jax.grad`.
        has_aux: Whether `f` returns `(value, aux)`.
        cotangent: Weights of the output's entries, a tree like the output; needed when it is not a scalar.

    Returns:
        A function of the arguments of `f` that gives the diagnosis. It compiles once for each shape.

    Raises:
        UsageError: When called: the output is not a real scalar and there is no cotangent, a differentiated
            argument holds integers, or there is no layer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab import diagnose
        >>> weights = 0.5 * jax.random.orthogonal(jax.random.key(0), 16, (200,))
        >>> def f(weights, x):
        ...     h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, weights)
        ...     return jnp.sum(h[:, 0])
        >>> diagnosis = diagnose(f)(weights, jax.random.normal(jax.random.key(1), (8, 16)))
        >>> diagnosis.verdict, diagnosis.phase
        ('vanishing', 'ordered')

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010;
        Schoenholz et al., Deep Information Propagation, arXiv:1611.01232.
    """
    programs: dict[Any, tuple[Program, Callable[..., Any]]] = {}

    def apply(*args: Any) -> Diagnosis:
        signature = jax.tree.structure(args), tuple(jax.typeof(leaf) for leaf in jax.tree.leaves(args))
        if signature not in programs:
            program = trace(f, argnums, has_aux=has_aux, cotangent=cotangent, args=args)
            programs[signature] = program, jax.jit(program.run)
        program, run = programs[signature]
        value, gradients, statistics = run(*args)
        statistics = jax.tree.map(lambda column: np.asarray(column, np.float64), statistics)
        executed = statistics.executed > 0
        names = [name for name, flag in zip(program.layers, executed, strict=True) if flag]
        statistics = jax.tree.map(lambda column: column[executed], statistics)
        return Diagnosis(value, gradients, names, statistics, program.dtype)

    return apply
