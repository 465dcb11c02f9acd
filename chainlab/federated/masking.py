r"""The arithmetic of secure aggregation: a study of its numerics and its cost, which protects nothing.

Values become integers modulo $2^{32}$; each pair of clients adds and subtracts one mask, so that masks cancel in the
sum and in nothing less. Here one key draws every mask: in a protocol each pair would agree on its own, and the masks of
clients that drop out would be recovered from shares of their secrets. A deployment that needs protection uses Flower's
SecAgg+.

References:
    Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017, section 4.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from chainlab.errors import UsageError
from chainlab.typing import PRNGKey


def fraction_bits(bound: float, clients: int) -> int:
    r"""The finest resolution at which no sum can overflow, $f = \lfloor \log_2 (2^{31} / (n B)) \rfloor$.

    Args:
        bound: Largest magnitude $B$ of a value.
        clients: Number of clients $n$ in the sum.

    Returns:
        Bits after the point; 0 at least.

    Raises:
        UsageError: There is no client, the bound is not positive, or the integers alone overflow.

    Example:
        >>> fraction_bits(1.0, 100)
        23
    """
    if clients < 1 or not bound > 0:
        raise UsageError(f"fraction_bits: wanted a bound > 0 and clients >= 1, got {bound} and {clients}")

    def fits(bits: int) -> bool:
        return clients * (bound * 2.0**bits + 0.5) < 2.0**31  # a half, by which rounding may enlarge each value

    if not fits(0):
        raise UsageError(f"fraction_bits: a sum of {clients} values up to {bound} overflows 32 bits")
    return max(bits for bits in range(24) if fits(bits))  # a float32 has no more than 23


def encode(tree: PyTree, bits: int) -> PyTree:
    r"""Values as integers modulo $2^{32}$, $\lfloor 2^f x \rceil$; negative ones as their two's complement.

    Args:
        tree: Arrays, smaller in magnitude than $2^{31 - f}$.
        bits: Bits after the point.

    Returns:
        Arrays of uint32.

    Example:
        >>> encode(jnp.array([0.5, -0.25]), bits=2).tolist()
        [2, 4294967295]
    """

    def one(leaf: Array) -> Array:
        return jax.lax.bitcast_convert_type(jnp.round(leaf * 2.0**bits).astype(jnp.int32), jnp.uint32)

    return jax.tree.map(one, tree)


def decode(tree: PyTree, bits: int) -> PyTree:
    """Integers modulo 2^32 as values; the inverse of `encode`, and of a sum of encodings.

    Args:
        tree: Arrays of uint32.
        bits: Bits after the point.

    Returns:
        Arrays of float32.

    Example:
        >>> decode(jnp.array([2, 4294967295], jnp.uint32), bits=2).tolist()
        [0.5, -0.25]
    """
    return jax.tree.map(
        lambda leaf: jax.lax.bitcast_convert_type(leaf, jnp.int32).astype(jnp.float32) * 2.0**-bits, tree
    )


def _pair_mask(key: PRNGKey, first: Int[Array, ""], second: Int[Array, ""], like: PyTree) -> PyTree:
    """The mask of a pair, the same from either side."""
    key = jax.random.fold_in(jax.random.fold_in(key, jnp.minimum(first, second)), jnp.maximum(first, second))
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        [jax.random.bits(k, leaf.shape, jnp.uint32) for k, leaf in zip(keys, leaves, strict=True)]
    )


def _masks_between(key: PRNGKey, client: Int[Array, ""], others: Bool[Array, " clients"], like: PyTree) -> PyTree:
    """The sum of a client's masks with others: added towards higher numbers, subtracted towards lower ones."""

    def add(other: Array, total: PyTree) -> PyTree:
        mask = _pair_mask(key, client, other, like)
        there = others[other] & (other != client)

        def one(total: Array, part: Array) -> Array:
            signed = jnp.where(other > client, part, jnp.uint32(0) - part)
            return total + jnp.where(there, signed, jnp.uint32(0))

        return jax.tree.map(one, total, mask)

    start = jax.tree.map(jnp.zeros_like, like)
    return jax.lax.fori_loop(0, others.shape[0], add, start)


def mask(tree: PyTree, client: Int[Array, ""], clients: int, key: PRNGKey) -> PyTree:
    r"""What a client sends, $y_i = x_i + \sum_{j > i} m_{ij} - \sum_{j < i} m_{ij} \bmod 2^{32}$.

    Args:
        tree: Its encoded values.
        client: Its number.
        clients: Number of clients in the round.
        key: Draws every pair's mask.

    Returns:
        Arrays of uint32; each by itself is uniform.
    """
    masks = _masks_between(key, client, jnp.ones(clients, bool), tree)
    return jax.tree.map(jnp.add, tree, masks)


def unmask(total: PyTree, survivors: Bool[Array, " clients"], key: PRNGKey) -> PyTree:
    r"""Remove from a sum over survivors the masks that they share with clients that dropped out.

    Masks of two survivors have cancelled. $\sum_{i \in S} x_i = \sum_{i \in S} y_i - \sum_{i \in S, j \notin S} \pm m_{ij}$.

    Args:
        total: Sum of what the survivors sent.
        survivors: Which clients those are.
        key: What `mask` drew from; in a protocol, the recovered secrets of those that dropped out.

    Returns:
        The sum of the survivors' encoded values.
    """  # noqa: E501

    def remove(client: Array, total: PyTree) -> PyTree:
        left = _masks_between(key, client, ~survivors, total)
        return jax.tree.map(lambda total, part: total - jnp.where(survivors[client], part, jnp.uint32(0)), total, left)

    return jax.lax.fori_loop(0, survivors.shape[0], remove, total)


def overhead(values: int, clients: int, dropped: int) -> dict[str, int]:
    """What a round costs beside the plain sum: masks drawn, and bytes.

    Args:
        values: Numbers in an update.
        clients: Clients that masked.
        dropped: How many of them dropped out afterwards.

    Returns:
        `masks_client` and `masks_server`, random words drawn by each client and by the server; `bytes_up`, what a
        client sends: as much as float32 values.

    Example:
        >>> overhead(1000, clients=10, dropped=3)
        {'masks_client': 9000, 'masks_server': 21000, 'bytes_up': 4000}
    """
    survivors = clients - dropped
    return {
        "masks_client": values * (clients - 1),
        "masks_server": values * survivors * dropped,
        "bytes_up": 4 * values,
    }
