"""Which groups to recompute so that a chain's gradient fits a memory budget."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.deep.segments import divisor_near, scanned
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

    With $s$ bytes of state and $r$ bytes that a layer saves, two levels need $s L / k + r k$ and three need
    $s L / k_1 + s k_1 / k_2 + r k_2$, at least; their minima give $k = \sqrt{L s / r}$, $k_1 = (L^2 s / r)^{1/3}$
    and $k_2 = \sqrt{k_1 s / r}$. Each candidate is compiled and XLA's own plan decides.

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
    depth = jax.tree.leaves(params)[0].shape[0]
    yield ()
    first = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape[1:], p.dtype), params)
    saved = jax.eval_shape(lambda p, h: jax.vjp(layer, p, h)[1], first, x)
    size = _bytes(x)
    # beside what its derivative saves, a layer of a group costs a copy of its parameters and of their gradients
    ratio = size / (_bytes(saved) + 2 * _bytes(first))
    two = divisor_near(depth, math.sqrt(depth * ratio))
    outer = divisor_near(depth, (depth**2 * ratio) ** (1 / 3))
    inner = divisor_near(outer, math.sqrt(outer * ratio))
    for groups in ((two,), (outer, inner)):
        if depth > groups[0] > (groups[1] if len(groups) > 1 else 0):
            yield groups


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
