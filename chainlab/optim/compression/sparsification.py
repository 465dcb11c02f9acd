"""Codes that send few coordinates."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.optim.compression.compressor import Compressor
from chainlab.typing import PRNGKey


def _kept(fraction: float, size: int) -> int:
    return min(size, max(1, int(fraction * size)))


def _check(name: str, fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise UsageError(f"{name} needs 0 < fraction <= 1, the share of the coordinates that is sent, got {fraction}")


def top_k(fraction: float) -> Compressor:
    r"""The $k$ coordinates of largest magnitude, $\lVert C(x) - x \rVert^2 \le (1 - k/d) \lVert x \rVert^2$.

    A coordinate costs its float32 value and its index, of 2 bytes in vectors of up to 65,536 coordinates and of 4 in
    larger ones.

    Args:
        fraction: Share $k/d$ of the coordinates; at least one is sent.

    Returns:
        The code; contractive, not unbiased.

    Raises:
        UsageError: The fraction is not in (0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, key = jnp.array([3.0, -1.0, 0.5, -2.0]), jax.random.key(0)
        >>> code = top_k(0.5)
        >>> code.decode(code.encode(x, key), 4).tolist()
        [3.0, 0.0, 0.0, -2.0]

    References:
        Stich, Cordonnier and Jaggi, Sparsified SGD with Memory, arXiv:1809.07599, definition 2.1.
    """
    _check("top_k", fraction)

    def encode(x: Float[Array, " size"], key: PRNGKey) -> dict[str, Array]:
        del key
        index = jax.lax.top_k(jnp.abs(x), _kept(fraction, x.size))[1]
        return {"index": index.astype(jnp.uint16 if x.size <= 1 << 16 else jnp.uint32), "value": x[index]}

    def decode(message: dict[str, Array], size: int) -> Float[Array, " size"]:
        index = message["index"].astype(jnp.int32)
        return jnp.zeros(size, jnp.float32).at[index].set(message["value"], unique_indices=True)

    return Compressor(encode, decode, lambda size: 1 - _kept(fraction, size) / size, unbiased=False)


def random_k(fraction: float, *, unbiased: bool = False) -> Compressor:
    r"""$k$ coordinates drawn at random; the receiver draws the same ones from the 8 bytes of the key.

    As they are, $E\lVert C(x) - x \rVert^2 = (1 - k/d) \lVert x \rVert^2$. Scaled by $d/k$ the code is unbiased, with
    $E\lVert C(x) - x \rVert^2 = (d/k - 1) \lVert x \rVert^2$.

    Args:
        fraction: Share $k/d$ of the coordinates; at least one is sent.
        unbiased: Whether they are scaled.

    Returns:
        The code.

    Raises:
        UsageError: The fraction is not in (0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, key = jnp.array([3.0, -1.0, 0.5, -2.0]), jax.random.key(0)
        >>> code = random_k(0.5)
        >>> int(jnp.sum(code.decode(code.encode(x, key), 4) != 0))
        2

    References:
        Stich, Cordonnier and Jaggi, Sparsified SGD with Memory, arXiv:1809.07599, definition 2.1 and lemma A.1.
    """
    _check("random_k", fraction)

    def chosen(key: PRNGKey, size: int) -> Array:
        return jax.random.permutation(key, size)[: _kept(fraction, size)]

    def encode(x: Float[Array, " size"], key: PRNGKey) -> dict[str, Array]:
        value = x[chosen(key, x.size)]
        scale = x.size / _kept(fraction, x.size) if unbiased else 1.0
        return {"key": jax.random.key_data(key), "value": value * scale}

    def decode(message: dict[str, Array], size: int) -> Float[Array, " size"]:
        index = chosen(jax.random.wrap_key_data(message["key"]), size)
        return jnp.zeros(size, jnp.float32).at[index].set(message["value"], unique_indices=True)

    def distortion(size: int) -> float:
        share = _kept(fraction, size) / size
        return 1 / share - 1 if unbiased else 1 - share

    return Compressor(encode, decode, distortion, unbiased)
