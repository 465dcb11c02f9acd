"""Simultaneous perturbation: a gradient estimate from two circuits, however many angles there are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from chainlab.errors import UsageError
from chainlab.quantum.shift import Evaluate


def simultaneous_perturbation(evaluate: Evaluate, step: float, directions: int) -> Callable[..., Array]:
    r"""A function of leaves whose derivative is estimated along random signs $\delta$.

    $\partial_k f \approx \frac{f(\theta + h \delta) - f(\theta - h \delta)}{2 h} \delta_k$, averaged over
    `directions`; two circuits a direction.

    Args:
        evaluate: Values of the circuit.
        step: The step $h$.
        directions: Number of directions.

    Returns:
        `f(key, *leaves) -> expectations`; the key draws the signs.

    References:
        Spall, Multivariate stochastic approximation using a simultaneous perturbation gradient approximation,
        IEEE Transactions on Automatic Control 37 (1992), equation 2.1.
    """

    def value(key: Any, *leaves: Array) -> Array:
        return evaluate(leaves, key, ())[0]

    call = jax.custom_jvp(value)

    @partial(call.defjvp, symbolic_zeros=True)
    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        key, *leaves = primals
        if key is None:
            raise UsageError("gradient='spsa' draws directions: call the function with key=jax.random.key(...)")
        active = [i for i, tangent in enumerate(tangents[1:]) if not isinstance(tangent, SymbolicZero)]
        result = call(*primals)
        if not active:
            return result, jnp.zeros_like(result)
        signs = jax.random.rademacher(jax.random.fold_in(key, 1), (directions, len(active)), result.dtype)

        def difference(own_key: Any, sign: Array) -> Array:
            def at(distance: float, which: Any) -> Array:
                moved = list(leaves)
                for row, leaf in enumerate(active):
                    moved[leaf] = moved[leaf] + (distance * sign[row]).astype(moved[leaf].dtype)
                return value(which, *moved)

            up, down = jax.random.split(own_key)
            return (at(step, up) - at(-step, down)) / (2 * step)

        slopes = jax.vmap(difference)(jax.random.split(jax.random.fold_in(key, 2), directions), signs)
        direction = jnp.stack([tangents[1 + leaf].astype(result.dtype) for leaf in active])
        return result, (signs @ direction) @ slopes / directions

    return call
