"""PowerSGD: the workers' mean as a matrix of low rank, by one step of power iteration."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.optim.compression.compressor import tree_bytes
from chainlab.optim.compression.exchanges import Exchange
from chainlab.typing import Params, PRNGKey


def power_sgd(rank: int = 2, seed: int = 0) -> Exchange:
    r"""Send two thin factors: $P = \mathrm{orth}(\frac1n \sum_i M_i Q)$, $Q = \frac1n \sum_i M_i^\top P$.

    The mean is $P Q^\top$ and a worker's share in it $P P^\top M_i$, a projection: $\lVert C(M) - M \rVert \le \lVert M
    \rVert$. $Q$ is kept, so that over the steps the power iteration converges. The last two axes of a leaf are its
    matrix (stacked layers are as many matrices); leaves whose factors would be no smaller than themselves, and
    vectors, are averaged as they are. Use it with `error_feedback`.

    Args:
        rank: Columns of the factors.
        seed: Draws the first $Q$, alike on every worker.

    Returns:
        The exchange; it keeps the factors $Q$.

    Raises:
        UsageError: `rank` is less than 1.

    Example:
        >>> import jax.numpy as jnp
        >>> power_sgd(2).sent_bytes(jnp.zeros((100, 50)))  # 2 (100 + 50) numbers of 4 bytes
        1200

    References:
        Vogels, Karimireddy and Jaggi, PowerSGD, arXiv:1905.13727, algorithms 1 and 2.
    """
    if rank < 1:
        raise UsageError(f"power_sgd needs rank >= 1, got {rank}")

    def thin(leaf: Any) -> bool:
        return leaf.ndim >= 2 and rank * sum(leaf.shape[-2:]) < leaf.shape[-2] * leaf.shape[-1]

    def init(params: Params) -> list[Array]:
        leaves = jax.tree.leaves(params)
        keys = jax.random.split(jax.random.key(seed), max(len(leaves), 1))
        factors = zip(leaves, keys, strict=bool(leaves))
        return [
            jax.random.normal(key, (*leaf.shape[:-2], leaf.shape[-1], rank)) if thin(leaf) else jnp.zeros(0)
            for leaf, key in factors
        ]

    def one(
        matrix: Float[Array, "*stack n m"], q: Float[Array, "*stack m rank"], axis: str
    ) -> tuple[Array, Array, Array]:
        p = jnp.linalg.qr(jax.lax.pmean(matrix @ q, axis))[0]
        own = jnp.swapaxes(matrix, -1, -2) @ p
        new = jax.lax.pmean(own, axis)
        return p @ jnp.swapaxes(new, -1, -2), p @ jnp.swapaxes(own, -1, -2), new

    def mean(gradients: Params, memory: Any, key: PRNGKey, axis: str) -> tuple[Params, Params, Any]:
        del key
        leaves, structure = jax.tree.flatten(gradients)
        results: list[tuple[Array, Array, Array]] = []
        for leaf, q in zip(leaves, memory, strict=True):
            if thin(leaf):
                average, sent, q = one(leaf.astype(q.dtype), q, axis)
                results.append((average.astype(leaf.dtype), sent.astype(leaf.dtype), q))
            else:
                results.append((jax.lax.pmean(leaf, axis), leaf, q))
        average, sent, kept = (list(column) for column in zip(*results, strict=True))
        return jax.tree.unflatten(structure, average), jax.tree.unflatten(structure, sent), kept

    def sent_bytes(params: Params) -> int:
        return sum(
            leaf.size // (leaf.shape[-2] * leaf.shape[-1]) * rank * sum(leaf.shape[-2:]) * 4
            if thin(leaf)
            else tree_bytes(leaf)
            for leaf in jax.tree.leaves(params)
        )

    return Exchange(init, mean, sent_bytes)
