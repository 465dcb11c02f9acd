"""The model: a pure function with parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from chainlab.typing import Params, PRNGKey


class Model(NamedTuple):
    """A pair of pure functions: `init(key) -> params` and `apply(params, x, *, key=None) -> y`.

    `apply` takes any leading batch axes with the features last. `key` switches on what is random in
    training (dropout, stochastic depth); without it `apply` is deterministic.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, x, *, key=None) -> y`.
        about: What the parameters alone do not tell, for interchange: the stride of a convolution, say.

    Example:
        >>> import jax
        >>> from chainlab import nn
        >>> model = nn.dense(3, 2)
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jax.numpy.ones((5, 3))).shape
        (5, 2)
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., Any]
    about: Any = None


def sequential(layers: Mapping[str, Model]) -> Model:
    r"""Compose named models: $y = f_n(\dots f_2(f_1(x)))$.

    Args:
        layers: The models by name, applied in the mapping's order; the names are the parameters' keys.

    Returns:
        A model whose parameters are a dict with one entry a layer.

    Example:
        >>> import jax
        >>> from chainlab import nn
        >>> net = nn.sequential({"hidden": nn.dense(4, 8), "relu": nn.activation("relu"), "head": nn.dense(8, 2)})
        >>> sorted(net.init(jax.random.key(0)))
        ['head', 'hidden', 'relu']
    """

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, len(layers))
        return {name: layer.init(k) for (name, layer), k in zip(layers.items(), keys, strict=True)}

    def apply(params: Params, x: Any, *, key: PRNGKey | None = None) -> Any:
        keys = [None] * len(layers) if key is None else jax.random.split(key, len(layers))
        for (name, layer), k in zip(layers.items(), keys, strict=True):
            with jax.named_scope(name):  # the layer's name in explain graphs and profiles
                x = layer.apply(params[name], x, key=k)
        return x

    return Model(init, apply)


def residual(branch: Model) -> Model:
    r"""Add a branch to its input: $y = x + f(x)$.

    Args:
        branch: A model that keeps the shape of its input.

    Returns:
        A model with the branch's parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> double = Model(lambda key: {}, lambda params, x, key=None: 2 * x)
        >>> residual(double).apply({}, jnp.array([1.0])).tolist()
        [3.0]

    References:
        He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, equation 1.
    """

    def apply(params: Params, x: Any, *, key: PRNGKey | None = None) -> Any:
        return x + branch.apply(params, x, key=key)

    return Model(branch.init, apply)
