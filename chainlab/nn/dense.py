"""The affine layer."""

import math

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


def affine(
    x: Float[Array, "*batch inputs"],
    weight: Float[Array, "inputs outputs"],
    bias: Float[Array, " outputs"] | None = None,
) -> Float[Array, "*batch outputs"]:
    r"""$y = x W + b$ as one matrix product over all leading axes.

    The leading axes are flattened before the product: on CPU the weight gradient of a product on a 3-D
    activation copies the incoming gradient and repeats its elementwise backward pass.

    Args:
        x: Input, features last.
        weight: Weight matrix.
        bias: Optional bias.

    Returns:
        The output, with the leading axes of `x`.

    Raises:
        UsageError: The features of `x` are not the rows of `weight`.

    Example:
        >>> import jax.numpy as jnp
        >>> affine(jnp.array([1.0, 2.0]), jnp.eye(2), jnp.array([10.0, 20.0])).tolist()
        [11.0, 22.0]
    """
    if x.shape[-1] != weight.shape[0]:
        raise UsageError(f"x must have {weight.shape[0]} features (last axis), got shape {x.shape}")
    y = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ weight
    if bias is not None:
        y = y + bias[None, :]
    return y.reshape(*x.shape[:-1], weight.shape[1])


def dense(
    inputs: int,
    outputs: int,
    *,
    bias: bool = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer = jax.nn.initializers.zeros,
    dtype: DTypeLike = jnp.float32,
) -> Model:
    r"""An affine layer, $y = x W + b$.

    Args:
        inputs: Number of input features.
        outputs: Number of output features.
        bias: Whether there is a bias.
        weight_init: Initialiser of `weight` (inputs, outputs); LeCun normal by default.
        bias_init: Initialiser of `bias` (outputs,).
        dtype: Type of the parameters.

    Returns:
        A model with parameters `weight` and, when asked for, `bias`.

    Raises:
        UsageError: A size is less than 1.

    Example:
        >>> import jax
        >>> layer = dense(3, 2)
        >>> {name: leaf.shape for name, leaf in layer.init(jax.random.key(0)).items()}
        {'bias': (2,), 'weight': (3, 2)}
    """
    if inputs < 1 or outputs < 1:
        raise UsageError(f"dense needs inputs >= 1 and outputs >= 1, got {inputs} and {outputs}")
    weight_init = weight_init or jax.nn.initializers.lecun_normal()

    def init(key: PRNGKey) -> Params:
        weight_key, bias_key = jax.random.split(key)
        params = {"weight": weight_init(weight_key, (inputs, outputs), dtype)}
        if bias:
            params["bias"] = bias_init(bias_key, (outputs,), dtype)
        return dict(sorted(params.items()))

    def apply(params: Params, x: Float[Array, "*batch inputs"], *, key: PRNGKey | None = None) -> Array:
        del key
        return affine(x, params["weight"], params.get("bias"))

    return Model(init, apply)
