"""Scans whose layers are grouped, each group recomputed in the backward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from chainlab.typing import Params


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
