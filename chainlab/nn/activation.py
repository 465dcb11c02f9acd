"""Activations by their standard names, and gated linear units."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey

Elementwise = Callable[[Float[Array, "..."]], Float[Array, "..."]]

activations: Mapping[str, Elementwise] = MappingProxyType(
    {
        "identity": lambda x: x,
        "relu": jax.nn.relu,
        "relu2": lambda x: jnp.square(jax.nn.relu(x)),
        "leaky_relu": jax.nn.leaky_relu,
        "elu": jax.nn.elu,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
        "silu": jax.nn.silu,
        "softplus": jax.nn.softplus,
        "sigmoid": jax.nn.sigmoid,
        "tanh": jnp.tanh,
    }
)
"""Elementwise activations by name; `gelu` is the exact (erf) form, `relu2` the squared ReLU."""


def named(name: str) -> Elementwise:
    """Look an activation up.

    Args:
        name: A key of `activations`.

    Returns:
        The elementwise function.

    Raises:
        UsageError: There is no such activation.
    """
    if name not in activations:
        raise UsageError(f"unknown activation {name!r}; choose one of {', '.join(sorted(activations))}")
    return activations[name]


def activation(name: str) -> Model:
    """An activation as a model without parameters.

    Args:
        name: A key of `activations`.

    Returns:
        The model.

    Raises:
        UsageError: There is no such activation.

    Example:
        >>> import jax.numpy as jnp
        >>> activation("relu").apply({}, jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    function = named(name)

    def apply(params: Params, x: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        del params, key
        return function(x)

    return Model(lambda key: {}, apply)


def gated(name: str = "silu") -> Model:
    r"""A gated linear unit, $y = \phi(x_1) \odot x_2$ with $x = [x_1, x_2]$.

    `gated("silu")` is the middle of SwiGLU, `gated("gelu")` of GEGLU, `gated("sigmoid")` of GLU; a dense
    layer of twice the width stands before it.

    Args:
        name: The activation of the gate.

    Returns:
        A model without parameters that halves the number of features.

    Raises:
        UsageError: There is no such activation, or the number of features is odd.

    Example:
        >>> import jax.numpy as jnp
        >>> gated("relu").apply({}, jnp.array([-1.0, 2.0, 3.0, 4.0])).tolist()
        [0.0, 8.0]

    References:
        Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202, equation 5.
    """
    function = named(name)

    def apply(params: Params, x: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        del params, key
        if x.shape[-1] % 2:
            raise UsageError(f"gated needs an even number of features, got shape {x.shape}")
        gate, value = jnp.split(x, 2, axis=-1)
        return function(gate) * value

    return Model(lambda key: {}, apply)
