"""A chain of any depth as a scan, with a choice of what it remembers for its gradient."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.deep.budget import plan
from chainlab.deep.segments import divisor_near, scanned, store
from chainlab.deep.two_streams import reversible
from chainlab.errors import UsageError
from chainlab.typing import Params

Layer = Callable[[Params, Any], Any]


def deep(layer: Layer, params: Params, x: PyTree, *, memory: str = "store") -> PyTree:
    r"""Apply a chain of layers, $h_{l+1} = f(\theta_l, h_l)$, compiled once whatever its depth.

    What the backward pass remembers is a matter of memory alone; it changes no value but that of `reversible`:

    - `store`: everything the layers save, $O(L)$.
    - `sqrt`: the states between about $\sqrt{L}$ groups; each group is computed once more, $O(\sqrt{L})$.
    - `budget: N MiB`: the fewest recomputations (none, one or two extra forward passes) whose gradient XLA plans
      within `N` MiB of temporary memory, beside parameters, inputs and gradients.
    - `reversible`: nothing; `layer` is the branch of a two-stream chain
      $(a, b) \mapsto (b, a + f(\theta_l, b))$, whose inputs are recomputed from its outputs, $O(1)$. It is another
      architecture: `x` is a pair of streams (or one array, which starts both), and so is the result.

    Args:
        layer: `layer(params_of_one_layer, h) -> h`, of the same shape and type.
        params: A tree whose leaves have the layers as leading axis.
        x: The input of the first layer.
        memory: `store`, `sqrt`, `reversible` or `budget: N MiB`.

    Returns:
        The output of the last layer.

    Raises:
        UsageError: The leaves disagree in their number of layers, the layer changes the shape or type of its
            input, `memory` is none of the above, or the budget is below the chain's least need.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> weights = jax.random.orthogonal(jax.random.key(0), 8, (1000,))
        >>> y = deep(lambda w, h: jnp.tanh(h @ w), weights, jnp.ones((2, 8)), memory="sqrt")
        >>> y.shape
        (2, 8)

    References:
        Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174; Griewank and Walther,
        Revolve, 2000; Gomez et al., The Reversible Residual Network, arXiv:1707.04585.
    """
    depth = layers(params)
    if memory == "reversible":
        pair = x if isinstance(x, tuple) else (x, x)
        if len(pair) != 2:
            raise UsageError(f"a reversible chain has two streams: x must be a pair or one array, got {len(pair)}")
        check_layer(layer, params, pair[1])
        return reversible(layer, params, pair)
    check_layer(layer, params, x)
    if memory == "store":
        return store(layer, params, x)
    if memory == "sqrt":
        return scanned(layer, params, x, (divisor_near(depth, math.sqrt(depth)),))
    budget = re.fullmatch(r"budget:\s*(\d+(?:\.\d+)?)\s*MiB", memory)
    if budget is None:
        raise UsageError(f"memory must be store, sqrt, reversible or 'budget: N MiB', got {memory!r}")
    return scanned(layer, params, x, plan(layer, params, x, float(budget[1])).groups)


def layers(params: Params) -> int:
    """The depth that a tree of stacked parameters has.

    Args:
        params: A tree whose leaves have the layers as leading axis.

    Returns:
        Number of layers.

    Raises:
        UsageError: There are no leaves, a leaf is a scalar, or the leaves disagree.
    """
    found = {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    sizes = {shape[0] if shape else None for shape in found.values()}
    if len(sizes) != 1 or None in sizes or 0 in sizes:
        text = ", ".join(f"{path or 'params'} {list(shape)}" for path, shape in found.items()) or "no leaves"
        raise UsageError(f"params of a chain must share their leading axis, the number of layers (>= 1), got {text}")
    return sizes.pop() or 0


def check_layer(layer: Layer, params: Params, x: PyTree) -> None:
    """Refuse a layer that does not keep the shape and type of its input.

    Args:
        layer: The layer.
        params: Stacked parameters.
        x: Its input.

    Raises:
        UsageError: It changes them.
    """
    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), x)
    output = jax.eval_shape(layer, first, state)
    wanted, got = (_describe(tree) for tree in (state, output))
    if wanted != got:
        raise UsageError(
            f"a layer of a chain must keep the shape and type of its input: wanted {wanted}, got {got}; "
            "put what changes them before or behind the chain"
        )


def _describe(tree: PyTree) -> str:
    leaves: Sequence[Any] = jax.tree_util.tree_leaves_with_path(tree)
    return ", ".join(f"{jax.tree_util.keystr(path)}{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves)
