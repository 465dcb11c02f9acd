"""Spectral normalisation of a model's weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params


def spectral_norm(weight: Float[Array, "... outputs"], iterations: int = 10) -> Float[Array, ""]:
    r"""Largest singular value of a weight as a matrix (inputs, outputs), by power iteration from a fixed vector.

    The singular vectors are constants to the derivative, $\partial \sigma / \partial W = u v^\top$, which is exact
    where they have converged.

    Args:
        weight: Weight, outputs last.
        iterations: Power iterations.

    Returns:
        An estimate from below.

    Raises:
        UsageError: There is no iteration.
    """
    if iterations < 1:
        raise UsageError(f"spectral_norm needs iterations >= 1, got {iterations}")
    matrix = weight.reshape(-1, weight.shape[-1])
    constant = jax.lax.stop_gradient(matrix)
    tiny = jnp.finfo(weight.dtype).tiny

    def unit(x: Array) -> Array:
        return x / jnp.maximum(jnp.linalg.norm(x), tiny)

    start = unit(jnp.cos(jnp.arange(matrix.shape[1], dtype=weight.dtype)))  # no symmetry that a weight could share
    v = jax.lax.fori_loop(0, iterations, lambda _, v: unit(constant.T @ unit(constant @ v)), start)
    return jnp.vdot(unit(constant @ v), matrix @ v)


def spectrally_normalized(model: Model, iterations: int = 10) -> Model:
    r"""The same model with every weight divided by its largest singular value, $W / \sigma(W)$.

    Every linear map is then 1-Lipschitz (a convolution up to the overlap of its patches). Leaves with less than two
    axes (biases, scales) are left alone.

    Args:
        model: Any model.
        iterations: Power iterations a call; there is no state to carry.

    Returns:
        The model.

    References:
        Miyato et al., Spectral Normalization for GANs, arXiv:1802.05957, equation 8.
    """

    def normalized(leaf: Array) -> Array:
        if leaf.ndim < 2:
            return leaf
        return leaf / jnp.maximum(spectral_norm(leaf, iterations), jnp.finfo(leaf.dtype).tiny)

    def apply(params: Params, *inputs: Any, **options: Any) -> Any:
        return model.apply(jax.tree.map(normalized, params), *inputs, **options)

    return Model(model.init, apply)
