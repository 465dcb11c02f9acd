"""The reversible two-stream chain: its inputs are recomputed from its outputs."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.typing import Params

Branch = Callable[[Params, Any], Any]


def _add(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)


def streams(branch: Branch, params: Params, x: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    """The two-stream chain by plain autodiff, which stores everything: the reference of `reversible`.

    Args:
        branch: The branch of one layer.
        params: Stacked parameters.
        x: The two streams.

    Returns:
        The two streams behind the last layer.
    """

    def layer(pair: tuple[PyTree, PyTree], p: Params) -> tuple[tuple[PyTree, PyTree], None]:
        a, b = pair
        return (b, _add(a, branch(p, b))), None

    return jax.lax.scan(layer, x, params)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def reversible(branch: Branch, params: Params, x: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    r"""The two-stream chain $(a, b) \mapsto (b, a + f(\theta_l, b))$ with a gradient that stores no activation.

    Backwards each layer is inverted, $b = b'_{\text{first}}$, $a = b' - f(\theta_l, b)$, and differentiated at the
    point so found. Rounding errors of the inversion grow with depth as those of the forward pass do.

    Args:
        branch: `branch(params_of_one_layer, b)`, of the shape of `b`. It must not close over traced values.
        params: Stacked parameters.
        x: The two streams.

    Returns:
        The two streams behind the last layer.

    References:
        Gomez et al., The Reversible Residual Network, arXiv:1707.04585, equations 6 to 8.
    """
    return streams(branch, params, x)


def _forward(branch: Branch, params: Params, x: tuple[PyTree, PyTree]):
    y = streams(branch, params, x)
    return y, (params, y)


def _backward(branch: Branch, saved: tuple[Params, tuple[PyTree, PyTree]], adjoint: tuple[PyTree, PyTree]):
    params, outputs = saved

    def layer(carry, p: Params):
        (b, total), (adjoint_b, adjoint_total) = carry
        value, vjp = jax.vjp(branch, p, b)
        a = jax.tree.map(jnp.subtract, total, value)
        gradient, through = vjp(adjoint_total)
        return ((a, b), (adjoint_total, _add(adjoint_b, through))), gradient

    (_, adjoint), gradients = jax.lax.scan(layer, (outputs, adjoint), params, reverse=True)
    return gradients, adjoint


reversible.defvjp(_forward, _backward)
