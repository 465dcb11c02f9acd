"""Which groups to recompute so that a chain's gradient fits a memory budget."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.deep.segments import divisor_near, divisors, scanned
from chainlab.errors import UsageError
from chainlab.typing import Params

_MIB = 1024 * 1024


class Plan(NamedTuple):
    """How a chain is grouped, and what that costs.

    Attributes:
        groups: Layers in a group, from the outermost level in; empty when everything is stored.
        mebibytes: Temporary memory of the chain's gradient as XLA plans it, in MiB.
    """

    groups: tuple[int, ...]
    mebibytes: float

    @property
    def extra_forwards(self) -> int:
        """How many times the chain is computed again in the backward pass."""
        return len(self.groups)


def plan(layer: Callable[[Params, Any], Any], params: Params, x: PyTree, budget: float) -> Plan:
    r"""Find the grouping with the fewest recomputations that fits a budget.

    With $s$ bytes of state, $p$ of one layer's parameters and $r$ that its derivative saves, groups of $k$ layers
    need about $s L / k + (2 p + r) k$, and groups of $k_1$ cut into groups of $k_2$ need
    $s L / k_1 + 2 p k_1 + s k_1 / k_2 + (2 p + r) k_2$. The least of each kind is compiled, and XLA's own plan decides.

    Args:
        layer: One layer.
        params: Stacked parameters, or their shapes.
        x: The input, or its shape.
        budget: Temporary memory in MiB, beside parameters, inputs and gradients.

    Returns:
        The plan.

    Raises:
        UsageError: Two extra forward passes need more than the budget.

    References:
        Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174, section 4.
    """

    def shapes(tree: PyTree) -> tuple[tuple[Any, ...], Any]:
        leaves, structure = jax.tree.flatten(tree)
        return tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves), structure

    found = _plans(layer, *shapes(params), *shapes(x), budget)
    if found[-1].mebibytes > budget:
        least = min(found, key=lambda candidate: candidate.mebibytes)
        raise UsageError(
            f"memory: a budget of {budget:g} MiB was wanted, but this chain needs at least {least.mebibytes:.2f} MiB "
            f"with two extra forward passes: raise the budget to {math.ceil(least.mebibytes)} MiB, make the batch "
            "smaller, or use a reversible chain"
        )
    return found[-1]


@functools.lru_cache(maxsize=64)
def _plans(
    layer: Callable[[Params, Any], Any],
    leaves: Sequence[Any],
    structure: Any,
    state: Sequence[Any],
    state_structure: Any,
    budget: float,
) -> list[Plan]:
    """The candidates up to the first that fits."""
    params, x = jax.tree.unflatten(structure, leaves), jax.tree.unflatten(state_structure, state)
    found: list[Plan] = []
    for groups in _candidates(layer, params, x):
        found.append(Plan(groups, temporary_mebibytes(layer, params, x, groups)))
        if found[-1].mebibytes <= budget:
            break
    return found


def temporary_mebibytes(layer: Callable[[Params, Any], Any], params: Params, x: PyTree, groups: Sequence[int]) -> float:
    """Temporary memory of a chain's gradient as XLA plans it.

    Args:
        layer: One layer.
        params: Stacked parameters, or their shapes.
        x: The input, or its shape.
        groups: See `scanned`.

    Returns:
        MiB.
    """

    def gradient(params: Params, x: PyTree, adjoint: PyTree) -> Any:
        y, vjp = jax.vjp(lambda p, h: scanned(layer, p, h, groups), params, x)
        return y, vjp(adjoint)

    analysis: Any = jax.jit(gradient).lower(params, x, x).compile().memory_analysis()
    return analysis.temp_size_in_bytes / _MIB


def _candidates(layer: Callable[[Params, Any], Any], params: Params, x: PyTree) -> Iterator[tuple[int, ...]]:
    """Nothing recomputed, then the groupings of one and of two levels that need least by `_estimate`."""
    depth = jax.tree.leaves(params)[0].shape[0]
    first = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape[1:], p.dtype), params)
    saved = _bytes(jax.eval_shape(lambda p, h: jax.vjp(layer, p, h)[1], first, x))
    sizes = divisors(depth)[1:-1] or [divisor_near(depth, math.sqrt(depth))]
    levels = [[(size,) for size in sizes], [(size, inner) for size in sizes for inner in divisors(size)[1:-1]]]
    yield ()
    for groupings in levels:
        if groupings:
            yield min(groupings, key=lambda groups: _estimate(depth, groups, _bytes(x), saved, _bytes(first)))


def _estimate(depth: int, groups: Sequence[int], state: int, saved: int, params: int) -> float:
    """Bytes of a grouping: states between groups, what the innermost layers save, parameters and their gradients.

    A group's parameters are sliced out and its gradients collected before they are written back: two copies.
    """
    total, above = 0.0, depth
    for size in groups:
        total, above = total + state * above / size + 2 * params * size, size
    return total + saved * above


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
