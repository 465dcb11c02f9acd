"""The gradient by forward mode: exactly, or along random directions."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from chainlab.errors import UsageError
from chainlab.typing import Batch, Gradient, Objective, Params, PRNGKey, Rule


def forward(directions: int | None = None) -> Rule:
    r"""Forward-mode differentiation: $g_i = J e_i$, or $g = \frac{1}{k} \sum_j (J v_j)\, v_j$ with $v_j \sim N(0, I)$.

    Without `directions` the gradient is exact, at one tangent a parameter. With them it is the unbiased forward
    gradient, whose variance grows with the number of parameters. Neither stores activations.

    Args:
        directions: Random directions that are averaged; None for the whole basis.

    Returns:
        A rule.

    Raises:
        UsageError: `directions` is less than 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> square = lambda params, batch, key: (jnp.sum(params**2), {})
        >>> _, gradient = forward()(square)(jnp.array([3.0, 4.0]), None, jax.random.key(0))
        >>> gradient.tolist()
        [6.0, 8.0]

    References:
        A. G. Baydin et al., "Gradients without backpropagation", arXiv:2202.08587, eq. 2.
    """
    if directions is not None and directions < 1:
        raise UsageError(f"forward needs directions >= 1, or None for the exact gradient, got {directions}")

    def pushed(objective: Objective) -> Gradient:
        def apply(params: Params, batch: Batch, key: PRNGKey):
            inner, outer = (key, key) if directions is None else jax.random.split(key)
            vector, unravel = ravel_pytree(params)
            _, push, metrics = jax.linearize(lambda v: objective(unravel(v), batch, inner), vector, has_aux=True)
            value = objective(params, batch, inner)[0]
            if directions is None:
                gradient = jax.vmap(push)(jnp.eye(vector.size, dtype=vector.dtype))
            else:
                tangents = jax.random.normal(outer, (directions, vector.size), vector.dtype)
                gradient = jnp.mean(jax.vmap(push)(tangents)[:, None] * tangents, 0)
            return (value, metrics), unravel(gradient)

        return apply

    return pushed
