"""The compressor: a pair of functions between a vector and the message that stands for it on the wire."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.typing import PRNGKey


class Compressor(NamedTuple):
    r"""A lossy code of a vector.

    Attributes:
        encode: `encode(vector, key) -> message`: a pytree of exactly the arrays that travel.
        decode: `decode(message, size) -> vector`, float32.
        distortion: `distortion(size)`: a bound of $E\lVert C(x) - x \rVert^2 / \lVert x \rVert^2$ over all $x$ of that
            size. Below 1 the code is contractive, and error feedback makes any optimiser converge with it.
        unbiased: Whether $E\,C(x) = x$: then the mean over workers converges without error feedback.
    """

    encode: Callable[[Any, PRNGKey], PyTree]
    decode: Callable[[PyTree, int], Any]
    distortion: Callable[[int], float]
    unbiased: bool


def compress(compressor: Compressor, tree: PyTree, key: PRNGKey) -> list[PyTree]:
    """The messages of a tree, one a leaf.

    Args:
        compressor: The code.
        tree: Arrays of any shape.
        key: Randomness; each leaf gets its own.

    Returns:
        The messages in the order of the tree's leaves.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.optim.compression import top_k
        >>> (message,) = compress(top_k(0.5), {"w": jnp.array([1.0, 2.0])}, jax.random.key(0))
        >>> message["value"].tolist(), message["index"].tolist()
        ([2.0], [1])
    """
    leaves = jax.tree.leaves(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    return [
        compressor.encode(leaf.reshape(-1).astype(jnp.float32), k) for leaf, k in zip(leaves, keys, strict=bool(leaves))
    ]


def decompress(compressor: Compressor, messages: list[PyTree], like: PyTree) -> PyTree:
    """The tree that messages stand for.

    Args:
        compressor: The code that made them.
        messages: The messages.
        like: A tree with the shapes and dtypes of the original.

    Returns:
        The decoded tree.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab.optim.compression import top_k
        >>> code, tree = top_k(0.5), {"w": jnp.array([[3.0, -1.0], [0.5, -2.0]])}
        >>> decompress(code, compress(code, tree, jax.random.key(0)), tree)["w"].tolist()
        [[3.0, 0.0], [0.0, -2.0]]
    """
    leaves, structure = jax.tree.flatten(like)
    decoded = [
        compressor.decode(message, leaf.size).reshape(leaf.shape).astype(leaf.dtype)
        for message, leaf in zip(messages, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, decoded)


def tree_bytes(tree: PyTree) -> int:
    """Bytes of a tree's arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def wire_bytes(compressor: Compressor, tree: PyTree) -> int:
    """Bytes of the messages of a tree: those of the arrays that travel, indices and scales included.

    Args:
        compressor: The code.
        tree: Arrays, or their shapes.

    Returns:
        The bytes, without the transport's own framing.

    Example:
        >>> import jax.numpy as jnp
        >>> from chainlab.optim.compression import top_k
        >>> wire_bytes(top_k(0.01), jnp.zeros(10_000))  # 100 values of 4 bytes with indices of 2
        600
    """
    return tree_bytes(jax.eval_shape(lambda: compress(compressor, _zeros(tree), jax.random.key(0))))


def _zeros(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)
