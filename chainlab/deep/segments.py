"""Scans whose layers are grouped, each group recomputed in the backward pass."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from chainlab.typing import Params


def divisors(number: int) -> list[int]:
    """The divisors of a number, sorted.

    Args:
        number: The number.

    Returns:
        From 1 to `number`.
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def divisor_near(number: int, wanted: float) -> int:
    """A divisor of a number that is within a factor of 3 of the wanted one, or the wanted one itself.

    Groups that divide the depth are views of the stacked parameters; a shorter last group makes XLA copy them.

    Args:
        number: The number.
        wanted: What the divisor should be near.

    Returns:
        At least 1 and at most `number`.

    Example:
        >>> divisor_near(1000, 31.6), divisor_near(101, 10.0)
        (25, 10)
    """
    divisors = {
        d for small in range(1, math.isqrt(number) + 1) if number % small == 0 for d in (small, number // small)
    }
    best = min(divisors, key=lambda d: abs(math.log(d / wanted)))
    return best if 1 / 3 <= best / wanted <= 3 else min(number, max(1, round(wanted)))


def store(layer: Callable[[Params, Any], Any], params: Params, x: PyTree) -> PyTree:
    """Scan the layers and keep what their derivatives need.

    Args:
        layer: One layer.
        params: Stacked parameters.
        x: The input.

    Returns:
        The output.
    """
    return jax.lax.scan(lambda h, p: (layer(p, h), None), x, params)[0]


def scanned(layer: Callable[[Params, Any], Any], params: Params, x: PyTree, groups: Sequence[int]) -> PyTree:
    """Scan the layers in nested groups; only the state before a group is kept, and the group is run again.

    Args:
        layer: One layer.
        params: Stacked parameters.
        x: The input.
        groups: Layers in a group, from the outermost level in; empty to keep everything.

    Returns:
        The output.
    """
    depth = jax.tree.leaves(params)[0].shape[0]
    if not groups or groups[0] >= depth:
        return store(layer, params, x) if len(groups) < 2 else scanned(layer, params, x, groups[1:])
    size = groups[0]
    whole = depth - depth % size

    @jax.checkpoint
    def group(h: PyTree, p: Params) -> PyTree:
        return scanned(layer, p, h, groups[1:])

    cut = jax.tree.map(lambda p: p[:whole].reshape(whole // size, size, *p.shape[1:]), params)
    x = jax.lax.scan(lambda h, p: (group(h, p), None), x, cut)[0]
    return x if whole == depth else group(x, jax.tree.map(lambda p: p[whole:], params))
