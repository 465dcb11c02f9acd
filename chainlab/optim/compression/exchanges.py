"""The exchange: how workers along a mapped axis form the mean of their gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike, PyTree

from chainlab.optim.compression.compressor import Compressor, compress, decompress, tree_bytes, wire_bytes
from chainlab.typing import Params, PRNGKey


class Exchange(NamedTuple):
    """One worker's side of a mean over workers; runs under `jax.shard_map` or `jax.vmap` with a named axis.

    Attributes:
        init: `init(params) -> memory`: what the worker keeps from step to step.
        mean: `mean(gradients, memory, key, axis) -> (mean, sent, memory)`: the mean over the axis, alike on every
            worker, and what this worker's gradient became in it. `key` is the same on every worker.
        sent_bytes: `sent_bytes(params)`: bytes that a worker puts into the collectives of one step.
    """

    init: Callable[[Params], Any]
    mean: Callable[[Params, Any, PRNGKey, str], tuple[Params, Params, Any]]
    sent_bytes: Callable[[Params], int]


def all_reduce(dtype: DTypeLike | None = None) -> Exchange:
    r"""The mean of the gradients themselves, $\bar g = \frac1n \sum_i g_i$, in their own type or in a shorter one.

    Args:
        dtype: Type on the wire, such as `bfloat16`; the sum is rounded to it too. None keeps the gradients' own.

    Returns:
        The exchange; it keeps no memory.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> exchange = all_reduce()
        >>> mean = jax.vmap(lambda g: exchange.mean(g, (), jax.random.key(0), "workers")[0], axis_name="workers")
        >>> mean(jnp.array([[1.0, 0.0], [0.0, 4.0]])).tolist()  # two workers
        [[0.5, 2.0], [0.5, 2.0]]
    """

    def short(tree: PyTree) -> PyTree:
        return tree if dtype is None else jax.tree.map(lambda leaf: leaf.astype(dtype), tree)

    def mean(gradients: Params, memory: Any, key: PRNGKey, axis: str) -> tuple[Params, Params, Any]:
        del key
        sent = short(gradients)
        both = jax.lax.pmean(sent, axis), sent
        own = jax.tree.map(lambda leaf: leaf.dtype, gradients)
        averaged, sent = (jax.tree.map(lambda leaf, kind: leaf.astype(kind), tree, own) for tree in both)
        return averaged, sent, memory

    return Exchange(lambda params: (), mean, lambda params: tree_bytes(jax.eval_shape(short, params)))


def gather(compressor: Compressor) -> Exchange:
    r"""The mean of the decoded messages, $\bar g = \frac1n \sum_i C(g_i)$; the messages are gathered, never a gradient.

    Args:
        compressor: The code of each worker's gradient.

    Returns:
        The exchange; it keeps no memory.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.optim.compression import top_k
        >>> exchange = gather(top_k(0.5))
        >>> mean = jax.vmap(lambda g: exchange.mean(g, (), jax.random.key(0), "workers")[0], axis_name="workers")
        >>> mean(jnp.array([[1.0, 0.5], [0.5, 4.0]])).tolist()  # each of two workers sends its larger coordinate
        [[0.5, 2.0], [0.5, 2.0]]
    """

    def mean(gradients: Params, memory: Any, key: PRNGKey, axis: str) -> tuple[Params, Params, Any]:
        messages = compress(compressor, gradients, jax.random.fold_in(key, jax.lax.axis_index(axis)))
        everyone = jax.lax.all_gather(messages, axis)
        workers = jax.lax.axis_size(axis)
        total = decompress(compressor, jax.tree.map(lambda leaf: leaf[0], everyone), gradients)
        for index in range(1, workers):  # one decoded gradient at a time
            one = decompress(compressor, jax.tree.map(lambda leaf, i=index: leaf[i], everyone), gradients)
            total = jax.tree.map(jnp.add, total, one)
        average = jax.tree.map(lambda leaf: leaf / workers, total)
        return average, decompress(compressor, messages, gradients), memory

    return Exchange(lambda params: (), mean, lambda params: wire_bytes(compressor, params))
