"""Fingerprints of a run's state on its way, so that a later run can be compared with it step by step."""

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array, PyTree, UInt32

from chainlab.data.shuffle import mix
from chainlab.lab.journal import Journal
from chainlab.lab.record import Record


def journal(record: Record) -> Journal:
    """The fingerprints of a run: step, and a hash of every leaf by key path."""
    return Journal(record.folder / "fingerprints.jsonl")


def next_mark(step: int) -> int:
    """The next step after `step` at which a run takes its fingerprint: the next power of two.

    Example:
        >>> [next_mark(step) for step in (0, 1, 2, 5, 8)]
        [1, 2, 4, 8, 16]
    """
    return 1 << step.bit_length()


def is_mark(step: int) -> bool:
    """Whether a run takes its fingerprint at a step."""
    return step.bit_count() == 1


def _words(leaf: Array) -> UInt32[Array, " words"]:
    """The bits of an array as 32-bit words."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == jnp.bool_:
        return leaf.reshape(-1).astype(jnp.uint32)
    bits = min(leaf.dtype.itemsize * 8, 32)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack([leaf.real, leaf.imag], axis=-1)
        bits = min(leaf.dtype.itemsize * 8, 32)
    return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{bits}")).reshape(-1).astype(jnp.uint32)


@jax.jit
def hashes(tree: PyTree) -> dict[str, UInt32[Array, ""]]:
    r"""A 32-bit hash of every leaf's bits, $\sum_i m(b_i \oplus i \phi)$ modulo $2^{32}$.

    The sum of integers has no rounding, so that the hash does not depend on the order in which a device adds.

    Args:
        tree: Any pytree of arrays.

    Returns:
        The hashes by key path.
    """

    def one(leaf: Array) -> UInt32[Array, ""]:
        words = _words(jnp.asarray(leaf))
        place = jnp.arange(words.size, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
        return jnp.sum(mix(words, place), dtype=jnp.uint32)

    return {keystr(path): one(leaf) for path, leaf in tree_flatten_with_path(tree)[0]}


def take(step: int, tree: PyTree) -> dict[str, object]:
    """The fingerprint of a state as a row of the journal."""
    return {"step": step, "leaves": {name: f"{int(value):08x}" for name, value in hashes(tree).items()}}
