"""The multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike

from chainlab.errors import UsageError
from chainlab.nn.activation import activation as activation_layer
from chainlab.nn.dense import dense
from chainlab.nn.dropout import dropout as dropout_layer
from chainlab.nn.model import Model, sequential


def mlp(
    sizes: Sequence[int],
    *,
    activation: str = "relu",
    dropout: float = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Model:
    r"""Dense layers with an activation between them, $y = W_n \phi(\dots \phi(W_1 x + b_1)) + b_n$.

    Args:
        sizes: Features of the input, of each hidden layer and of the output.
        activation: Activation after every layer but the last.
        dropout: Dropout rate after every hidden activation.
        dtype: Type of the parameters.

    Returns:
        A model with parameters `dense0`, `dense1`, ... (He-normal weights, zero biases).

    Raises:
        UsageError: Fewer than two sizes.

    Example:
        >>> import jax
        >>> net = mlp([64, 32, 10], activation="gelu")
        >>> net.apply(net.init(jax.random.key(0)), jax.numpy.ones((7, 64))).shape
        (7, 10)
    """
    if len(sizes) < 2:
        raise UsageError(f"mlp needs at least an input and an output size, got {list(sizes)}")
    layers: dict[str, Model] = {}
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        if index:
            layers[f"{activation}{index - 1}"] = activation_layer(activation)
            if dropout:
                layers[f"dropout{index - 1}"] = dropout_layer(dropout)
        layers[f"dense{index}"] = dense(inputs, outputs, weight_init=jax.nn.initializers.he_normal(), dtype=dtype)
    return sequential(layers)
