"""A dense layer whose products are in bfloat16: spikes are exact in it, only weights and adjoints are rounded."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.nn.dense import dense
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


def dense_bfloat16(inputs: int, outputs: int, *, bias: bool = False) -> Model:
    r"""A dense layer in mixed precision, $y = \mathrm{bf16}(x)\, \mathrm{bf16}(W) + b$ with float32 sums.

    For inputs that are spikes only the weights are rounded, by a relative $2^{-9}$. It is an approximation:
    figures obtained with it are to be reported apart from float32's.

    Args:
        inputs: Number of input features.
        outputs: Number of output features.
        bias: Whether there is a bias.

    Returns:
        A model with the float32 parameters of `nn.dense`.

    Example:
        >>> import jax
        >>> layer = dense_bfloat16(3, 2)
        >>> layer.apply(layer.init(jax.random.key(0)), jax.numpy.ones((5, 3))).dtype
        dtype('float32')
    """
    full = dense(inputs, outputs, bias=bias)

    def apply(params: Params, x: Float[Array, "*batch inputs"], *, key: PRNGKey | None = None) -> Array:
        del key
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y = _product(flat, params["weight"])
        if bias:
            y = y + params["bias"][None]
        return y.reshape(*x.shape[:-1], outputs)

    return Model(full.init, apply)


def _half(a: Array, b: Array) -> Array:
    return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


@jax.custom_vjp
def _product(x: Array, weight: Array) -> Array:
    return _half(x, weight)


def _product_forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return _half(x, weight), (x, weight)


def _product_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, weight = residuals
    return _half(cotangent, weight.T).astype(x.dtype), _half(x.T, cotangent).astype(weight.dtype)


_product.defvjp(_product_forward, _product_backward)
