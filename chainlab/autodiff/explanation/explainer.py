"""`explain`: evaluate a function and its gradient as a graph."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from chainlab.autodiff.explanation.compiled import Statistics, statistics
from chainlab.autodiff.explanation.forward import walk
from chainlab.autodiff.explanation.graph import Edge, Explanation, Pullback
from chainlab.autodiff.explanation.program import is_differentiable
from chainlab.autodiff.explanation.reverse import reverse
from chainlab.autodiff.explanation.tape import Operand, Tape
from chainlab.autodiff.explanation.trace import Traced, check_arguments, leaf_names, name_of, signature, trace
from chainlab.errors import UsageError


def explain(
    f: Callable[..., Any],
    cotangent: PyTree = None,
    *,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    unroll: int = 32,
    keep: int | None = None,
) -> "Explainer":
    r"""Show how the gradient of a function is a sum over paths of products of local derivatives.

    $$\frac{\partial f}{\partial x} = \sum_{\text{paths } x = v_0 \to v_1 \to \dots \to f}
    \ \prod_i \frac{\partial v_{i+1}}{\partial v_i}$$

    Every intermediate is a node with its value and its adjoint $\bar v = \partial f / \partial v$; every use of it
    is an edge with its local derivative and the contribution that it adds to the adjoint. The walk goes through
    `jit`, `remat`, `vmap`, `cond`, `scan`, `while` loops (also where `jax.grad` refuses: the trip count is known
    here) and custom derivatives, whose declared rule stands beside the true derivative of their forward.

    Args:
        f: A function of any pytrees of arrays.
        cotangent: Weights of the outputs, structured like the output; needed unless the output is one real number.
        argnums: Which arguments to differentiate, as in `jax.grad`; all of them by default.
        has_aux: Whether `f` returns `(output, aux)`.
        unroll: Loops of at most this many iterations are unrolled; longer ones are one node with statistics of
            every iteration.
        keep: Values, adjoints and contributions of more elements are reduced to statistics and freed; None keeps
            everything.

    Returns:
        A function of `f`'s arguments that returns an `Explanation`. Its `statistics` compiles the adjoints and
        the norms of all contributions into one program.

    Raises:
        UsageError: The output is not a real scalar and there is no cotangent, no argument has a derivative, or `f`
            cannot be traced or is not pure; the message says what to do.

    Example:
        >>> import chainlab
        >>> graph = chainlab.explain(lambda x, y: x**2 + y**3)(2.0, 3.0)
        >>> [float(g) for g in graph.gradients]
        [4.0, 27.0]
        >>> [path.factors for path in graph.paths("y").largest]
        [(27.0, 1.0)]

    References:
        Bauer, Computational Graphs and Rounding Error, SIAM J. Numer. Anal. 11, 1974 (the sum over paths).
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 3.
    """
    if unroll < 0:
        raise UsageError(f"explain: unroll must be >= 0, got {unroll}")
    if keep is not None and keep < 0:
        raise UsageError(f"explain: keep must be >= 0 or None, got {keep}")
    return Explainer(f, cotangent, argnums, has_aux, unroll, keep)


class Explainer:
    """A function whose every call returns an `Explanation`; made by `explain`."""

    def __init__(
        self,
        f: Callable[..., Any],
        cotangent: Any,
        argnums: int | Sequence[int] | None,
        has_aux: bool,
        unroll: int,
        keep: int | None,
    ) -> None:
        self.f, self.cotangent, self.argnums, self.has_aux = f, cotangent, argnums, has_aux
        self.unroll, self.keep = unroll, keep
        self._traces: dict[Hashable, Traced] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Explanation:
        """Evaluate the function on arguments and explain its gradient."""
        leaves, tree = jax.tree.flatten((args, kwargs))
        check_arguments(leaves, leaf_names(self.f, args, kwargs))
        traced = self._trace(args, kwargs, leaves, tree)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        chosen = self._chosen(args, kwargs)
        tape = Tape(self.unroll)
        outputs, edges = forward(tape, traced, leaves, chosen, self.cotangent)
        reverse(tape, edges)
        return self._explanation(tape, traced, args, leaves, chosen, outputs)

    def statistics(self, *args: Any, **kwargs: Any) -> Statistics:
        """Value, gradients, all adjoints and the norms of all contributions; may be called inside `jax.jit`.

        Loops longer than `unroll` and conditionals are one node each; a while loop is refused, as by `jax.grad`.

        Example:
            >>> import chainlab, jax
            >>> compiled = jax.jit(chainlab.explain(lambda x: 3.0 * x * x).statistics)
            >>> result = compiled(2.0)
            >>> float(result.gradients), {name: float(adjoint) for name, adjoint in result.adjoints.items()}
            (12.0, {'x': 12.0, 'mul': 2.0, 'mul.2': 1.0})
        """
        leaves, tree = jax.tree.flatten((args, kwargs))
        traced = self._trace(args, kwargs, leaves, tree)
        chosen = self._chosen(args, kwargs)
        tape = Tape(self.unroll, traced=True)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        outputs, edges = forward(tape, traced, leaves, chosen, self.cotangent)
        reverse(tape, edges)
        value, aux = self._split(traced, outputs)
        return statistics(tape, value, aux, self._gradients(tape, args, leaves, chosen))

    def _trace(self, args: Any, kwargs: dict[str, Any], leaves: Sequence[Any], tree: Any) -> Traced:
        key = signature(leaves, tree)
        if key not in self._traces:
            self._traces[key] = trace(self.f, args, kwargs, self.has_aux)
        return self._traces[key]

    def _chosen(self, args: Sequence[Any], kwargs: dict[str, Any]) -> list[bool]:
        """Whether each input leaf is differentiated."""
        wanted = range(len(args)) if self.argnums is None else np.atleast_1d(self.argnums).tolist()
        wanted = {i + len(args) if i < 0 else i for i in wanted}
        if not wanted <= set(range(len(args))):
            raise UsageError(f"explain: argnums={self.argnums} but there are {len(args)} positional arguments")
        flags: list[bool] = []
        for position, argument in enumerate(args):
            flags += [
                position in wanted and is_differentiable(jax.typeof(leaf).dtype) for leaf in jax.tree.leaves(argument)
            ]
        if not any(flags):
            types = sorted({str(jax.typeof(leaf).dtype) for leaf in jax.tree.leaves(args)})
            raise UsageError(
                f"explain: no argument of {name_of(self.f)} has a derivative (types {', '.join(types) or 'none'}). "
                "Pass floating-point values: 2.0 instead of 2, or x.astype(jnp.float32)."
            )
        return flags + [False] * len(jax.tree.leaves(kwargs))

    def _split(self, traced: Traced, outputs: Sequence[Any]) -> tuple[Any, Any]:
        result = jax.tree.unflatten(traced.output_tree, outputs)
        return result if self.has_aux else (result, None)

    def _gradients(self, tape: Tape, args: Sequence[Any], leaves: Sequence[Any], chosen: Sequence[bool]) -> Any:
        gradients = [
            tape.nodes[i].adjoint if flag else np.zeros(np.shape(leaf), jax.dtypes.float0)
            for i, (leaf, flag) in enumerate(zip(leaves, chosen, strict=True))
        ]
        count = len(jax.tree.leaves(args))
        per_argument = jax.tree.unflatten(jax.tree.structure(tuple(args)), gradients[:count])
        if self.argnums is None:
            return per_argument[0] if len(args) == 1 else per_argument
        if isinstance(self.argnums, int):
            return per_argument[self.argnums]
        return tuple(per_argument[i] for i in self.argnums)

    def _explanation(
        self,
        tape: Tape,
        traced: Traced,
        args: Sequence[Any],
        leaves: Sequence[Any],
        chosen: Sequence[bool],
        outputs: Sequence[Any],
    ) -> Explanation:
        value, aux = self._split(traced, outputs)
        gradients = self._gradients(tape, args, leaves, chosen)
        inputs = {node.name: node for node, flag in zip(tape.nodes, chosen, strict=False) if flag}
        result = Explanation(name_of(self.f), value, aux, gradients, tuple(tape.nodes), tuple(tape.edges), inputs)
        if self.keep is not None:
            shrink(result, self.keep)
        return result


def forward(
    tape: Tape, traced: Traced, leaves: Sequence[Any], chosen: Sequence[bool], cotangent: Any
) -> tuple[list[Any], list[tuple[Edge, Any]]]:
    """Record the program and the output node; returns the flat outputs and the seeds of the reverse pass."""
    inputs = [
        Operand(leaf, tape.add_node("input", "input", leaf, name=name, active=flag))
        for leaf, name, flag in zip(leaves, traced.leaves, chosen, strict=True)
    ]
    results = walk(tape, traced.program, inputs, ())
    weights = weigh([operand.value for operand in results[: traced.output_count]], traced, cotangent)
    total = sum((jnp.sum(jnp.real(o.value * w)) for o, w in zip(results, weights, strict=False) if w is not None), 0.0)
    output = tape.add_node("output", "output", jnp.asarray(total), name=tape.unique((), "output"), active=True)
    output.adjoint = jnp.ones_like(output.value)
    seeds: list[tuple[Edge, Any]] = []
    for position, (operand, weight) in enumerate(zip(results, weights, strict=False)):
        if operand.node is not None:
            edge = tape.add_edge(operand.node, output, position, active=operand.active and weight is not None)
            if edge.active:
                edge.pullback = _scaled(weight)
                seeds.append((edge, weight))
    return [operand.value for operand in results], seeds


def _scaled(weight: Any) -> Pullback:
    """The pullback of a weighted sum."""
    return lambda cotangents: [weight * jnp.full_like(weight, cotangents[0])]


def weigh(values: Sequence[Any], traced: Traced, cotangent: Any) -> list[Any]:
    """The cotangent of every output leaf; None where it carries no derivative."""
    if cotangent is None:
        if len(values) != 1 or np.shape(values[0]) or not jnp.issubdtype(values[0].dtype, jnp.floating):
            shapes = ", ".join(f"{jax.typeof(v).dtype}{list(np.shape(v))}" for v in values[:6])
            raise UsageError(
                f"explain: the output must be one real number, got {shapes or 'nothing'}. Reduce it (jnp.sum, "
                "jnp.mean), choose an entry, or pass weights: explain(f, cotangent=...) structured like the output; "
                "has_aux=True where f returns (output, aux)."
            )
        return [jnp.ones_like(values[0])]
    given = jax.tree.leaves(cotangent)
    if len(given) != len(values):
        raise UsageError(
            f"explain: the cotangent has {len(given)} leaves, the output has {len(values)} "
            f"({', '.join(traced.outputs[:6])}); give it the output's structure"
        )
    weights: list[Any] = []
    for value, weight, name in zip(values, given, traced.outputs, strict=True):
        if np.shape(weight) != np.shape(value):
            raise UsageError(
                f"explain: the cotangent of {name} has shape {np.shape(weight)}, wanted {np.shape(value)} as the output"
            )
        weights.append(jnp.asarray(weight, value.dtype) if is_differentiable(value.dtype) else None)
    return weights


def shrink(explanation: Explanation, keep: int) -> None:
    """Reduce big arrays to their statistics, after everything that needs them has been computed."""
    for edge in explanation.edges:
        _ = edge.norm, edge.gain, edge.local, edge.forward_local, edge.deviation, edge.evaluations
    for node in explanation.nodes:
        _ = node.summary, node.adjoint_summary
    for edge in explanation.edges:
        edge.operands, edge.pullback, edge.forward_pullback = (), None, None
        if edge.contribution is not None and np.size(edge.contribution) > keep:
            edge.contribution = None
    for node in explanation.nodes:
        if node.size > keep:
            node.value = node.adjoint = None
