"""The branches of deep chains: dense, convolutional, and attention; each keeps the shape of its input."""

import math

import jax
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.activation import named
from chainlab.nn.convolution import convolution
from chainlab.nn.dense import dense
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


def weights(sigma_w: float, *, orthogonal: bool = False, kernel: bool = False) -> Initializer:
    r"""Initial weights: $N(0, \sigma_w^2 / \text{inputs})$, or $\sigma_w$ times an orthogonal matrix.

    Args:
        sigma_w: The scale; `critical_sigma_w` gives the one at which gradients keep their size.
        orthogonal: Whether the matrix is orthogonal (for a kernel: delta-orthogonal, all else 0).
        kernel: Whether it is a convolution kernel (height, width, inputs, outputs).

    Returns:
        The initialiser.

    References:
        He et al., arXiv:1502.01852; Saxe et al., arXiv:1312.6120; Xiao et al., arXiv:1806.05393, algorithm 1.
    """
    if sigma_w == 0:
        return jax.nn.initializers.zeros
    if orthogonal:
        make = jax.nn.initializers.delta_orthogonal if kernel else jax.nn.initializers.orthogonal
        return make(sigma_w)
    axes = {"in_axis": (0, 1, 2), "out_axis": 3} if kernel else {}
    return jax.nn.initializers.variance_scaling(sigma_w**2, "fan_in", "normal", **axes)


def mlp_branch(
    dim: int,
    *,
    activation: str = "relu",
    layers: int = 1,
    sigma_w: float = math.sqrt(2.0),
    sigma_b: float = 0.0,
    orthogonal: bool = False,
    last: float = 1.0,
) -> Model:
    r"""A dense branch: $\phi(h W + b)$ for one layer, $\phi(h W_1 + b_1) W_2 + b_2$ for two, and so on.

    Args:
        dim: Features.
        activation: The activation $\phi$.
        layers: Dense layers.
        sigma_w: Scale of the initial weights.
        sigma_b: Standard deviation of the initial biases.
        orthogonal: Whether the initial weights are orthogonal.
        last: Factor on the last layer's initial weights; 0 starts the branch at 0 (for two layers and more).

    Returns:
        The branch.

    Raises:
        UsageError: `layers` is less than 1.
    """
    if layers < 1:
        raise UsageError(f"mlp_branch needs layers >= 1, got {layers}")
    phi = named(activation)
    biases = jax.nn.initializers.normal(sigma_b) if sigma_b else jax.nn.initializers.zeros
    scales = [sigma_w] * (layers - 1) + [sigma_w * last]
    parts = [dense(dim, dim, weight_init=weights(s, orthogonal=orthogonal), bias_init=biases) for s in scales]

    def init(key: PRNGKey) -> Params:
        return {f"dense{n}": part.init(k) for n, (part, k) in enumerate(zip(parts, _keys(key, layers), strict=True))}

    def apply(params: Params, h: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        for index, part in enumerate(parts):
            h = part.apply(params[f"dense{index}"], h)
            if index < layers - 1 or layers == 1:
                h = phi(h)
        return h

    return Model(init, apply)


def convolution_branch(
    dim: int,
    *,
    activation: str = "relu",
    kernel: int = 3,
    sigma_w: float = math.sqrt(2.0),
    sigma_b: float = 0.0,
    orthogonal: bool = False,
    last: float = 1.0,
) -> Model:
    r"""A convolutional branch, $\phi(K * h + b)$, over (*batch, height, width, dim).

    Args:
        dim: Features.
        activation: The activation $\phi$.
        kernel: Height and width of the kernel.
        sigma_w: Scale of the initial kernel.
        sigma_b: Standard deviation of the initial biases.
        orthogonal: Whether the initial kernel is delta-orthogonal.
        last: Factor on the initial kernel.

    Returns:
        The branch.
    """
    phi = named(activation)
    part = convolution(
        dim, dim, (kernel, kernel), weight_init=weights(sigma_w * last, orthogonal=orthogonal, kernel=True)
    )

    def init(key: PRNGKey) -> Params:
        params = part.init(key)
        return {**params, "bias": sigma_b * jax.random.normal(jax.random.fold_in(key, 1), params["bias"].shape)}

    def apply(params: Params, h: Float[Array, "*batch height width dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        return phi(part.apply(params, h))

    return Model(init, apply)


def attention_branch(dim: int, heads: int, *, last: float = 1.0) -> Model:
    r"""Self-attention without a mask, $\mathrm{softmax}(Q K^\top / \sqrt{d}) V W_O$, over (*batch, seq, dim).

    Args:
        dim: Features.
        heads: Heads; must divide `dim`.
        last: Factor on the initial weights of values and of the output (DeepNorm's gain).

    Returns:
        The branch.

    Raises:
        UsageError: `heads` does not divide `dim`.

    References:
        Vaswani et al., Attention Is All You Need, arXiv:1706.03762, equation 1.
    """
    if heads < 1 or dim % heads:
        raise UsageError(f"attention_branch: heads must divide dim={dim}, got {heads}")
    names = ("query", "key", "value", "output")
    parts = {
        name: dense(dim, dim, bias=False, weight_init=weights(last if name in ("value", "output") else 1.0))
        for name in names
    }

    def init(key: PRNGKey) -> Params:
        return {name: parts[name].init(k) for name, k in zip(names, _keys(key, len(names)), strict=True)}

    def apply(params: Params, h: Float[Array, "*batch seq dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        *batch, seq, _ = h.shape

        def split(name: str) -> Array:
            return parts[name].apply(params[name], h).reshape(math.prod(batch), seq, heads, dim // heads)

        mixed = jax.nn.dot_product_attention(split("query"), split("key"), split("value"))
        return parts["output"].apply(params["output"], mixed.reshape(*batch, seq, dim))

    return Model(init, apply)


def _keys(key: PRNGKey, number: int) -> list[PRNGKey]:
    return list(jax.random.split(key, number)) if number > 1 else [key]
