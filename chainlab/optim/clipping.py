"""Clipping of the whole gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from chainlab.typing import Params


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    r"""Scale a gradient that is too long, $g \leftarrow g \min(1, c / \lVert g \rVert)$.

    That is `optax.clip_by_global_norm` up to rounding. Here the factor is one number by which each gradient is
    multiplied where it is used; optax divides the gradients themselves, and XLA keeps a second copy of all of them.

    Args:
        max_norm: The length $c$.

    Returns:
        An optax transformation without a state.

    Example:
        >>> clip = clip_by_global_norm(1.0)
        >>> clipped, _ = clip.update(jnp.array([3.0, 4.0]), clip.init(jnp.zeros(2)))
        >>> [round(float(each), 3) for each in clipped]
        [0.6, 0.8]

    References:
        Pascanu et al., On the difficulty of training Recurrent Neural Networks, arXiv:1211.5063, algorithm 1.
    """

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        del params
        factor = max_norm / jnp.maximum(optax.tree.norm(updates), max_norm)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
