"""Optimisers without gradients: closed-form minimisation of one angle after another, and SPSA's gains."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from chainlab.quantum.library import pennylane
from chainlab.quantum.matrices import complex_dtype
from chainlab.typing import Params

_GRID = 256
_NEWTON_STEPS = 4


def _minimise(values: Float[Array, " points"]) -> tuple[Array, Array]:
    r"""Where a trigonometric polynomial is least, from its values at $2 \pi j / (2R + 1)$."""
    points = values.shape[0]
    order = np.arange(1, points // 2 + 1)
    angles = 2 * np.pi * np.arange(points) / points
    cosine = jnp.asarray(2 / points * np.cos(np.outer(order, angles)), values.dtype) @ values
    sine = jnp.asarray(2 / points * np.sin(np.outer(order, angles)), values.dtype) @ values
    mean = jnp.mean(values)
    orders = jnp.asarray(order, values.dtype)
    if points == 3:
        best = jnp.arctan2(-sine[0], -cosine[0])
    else:
        grid = jnp.asarray(2 * np.pi * np.arange(_GRID) / _GRID, values.dtype)
        phases = grid[:, None] * orders[None, :]
        best = grid[jnp.argmin(jnp.cos(phases) @ cosine + jnp.sin(phases) @ sine)]
        for _ in range(_NEWTON_STEPS):
            phase = orders * best
            slope = jnp.sum(orders * (sine * jnp.cos(phase) - cosine * jnp.sin(phase)))
            curvature = -jnp.sum(orders**2 * (cosine * jnp.cos(phase) + sine * jnp.sin(phase)))
            best = best - slope / jnp.maximum(curvature, 1e-6)
    phase = orders * best
    return best, mean + cosine @ jnp.cos(phase) + sine @ jnp.sin(phase)


def rotosolve(
    objective: Callable[[Params], Float[Array, ""]], *, frequencies: int = 1
) -> Callable[[Params], tuple[Params, Float[Array, ""]]]:
    r"""Minimise one parameter after another exactly, from $2R + 1$ evaluations each.

    In one parameter the objective is $a_0 + \sum_{k \le R} a_k \cos k\theta + b_k \sin k\theta$, where $R$ is the
    number of gates of one frequency that the parameter turns.

    Args:
        objective: A circuit's expectation as a function of its parameters.
        frequencies: The number $R$.

    Returns:
        `sweep(params) -> (params, value)`, one pass over all parameters; pure, so that passes can be scanned.

    References:
        Ostaszewski, Grant and Benedetti, Structure optimization for parameterized quantum circuits,
        arXiv:1905.09692, algorithm 1; Wierichs et al., arXiv:2107.12390, section 3.
    """
    points = 2 * frequencies + 1

    def sweep(params: Params) -> tuple[Params, Array]:
        flat, restore = ravel_pytree(params)
        offsets = jnp.asarray(2 * np.pi * np.arange(points) / points, flat.dtype)

        def visit(vector: Array, index: Array) -> tuple[Array, Array]:
            values = jax.vmap(lambda angle: objective(restore(vector.at[index].set(angle))))(offsets)
            best, value = _minimise(values)
            return vector.at[index].set(best), value

        flat, values = jax.lax.scan(visit, flat, jnp.arange(flat.shape[0]))
        return restore(flat), values[-1]

    return sweep


def rotation(angle: Any, axis: Int[Array, ""], wires: Any) -> Any:
    r"""A rotation $e^{-i \theta \sigma / 2}$ about an axis that is data: 0, 1, 2 for X, Y, Z; for `rotoselect`.

    Args:
        angle: The angle.
        axis: The axis.
        wires: The wire.

    Returns:
        PennyLane's operator, which is queued.
    """
    angle = jnp.asarray(angle)
    dtype = complex_dtype([angle])
    paulis = jnp.asarray(np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]), dtype)
    half = (angle / 2).astype(dtype)
    unitary = jnp.cos(half) * jnp.eye(2, dtype=dtype) - 1j * jnp.sin(half) * paulis[axis]
    return pennylane().QubitUnitary(unitary, wires=wires)


def rotoselect(
    objective: Callable[[Float[Array, " n"], Int[Array, " n"]], Float[Array, ""]],
) -> Callable[[Float[Array, " n"], Int[Array, " n"]], tuple[Float[Array, " n"], Int[Array, " n"], Float[Array, ""]]]:
    """Choose the axis and the angle of one gate after another, each exactly, from 7 evaluations a gate.

    Args:
        objective: `objective(angles, axes)`, of a circuit made with `rotation`.

    Returns:
        `sweep(angles, axes) -> (angles, axes, value)`, one pass over all gates.

    References:
        Ostaszewski, Grant and Benedetti, Structure optimization for parameterized quantum circuits,
        arXiv:1905.09692, algorithm 2.
    """

    def sweep(angles: Array, axes: Array) -> tuple[Array, Array, Array]:
        third = jnp.asarray(2 * np.pi * np.arange(3) / 3, angles.dtype)

        def visit(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], Array]:
            angles, axes = carry
            same = objective(angles.at[index].set(0.0), axes)  # without rotation the axis does not matter

            def along(axis: Array) -> tuple[Array, Array]:
                chosen = axes.at[index].set(axis)
                others = jax.vmap(lambda angle: objective(angles.at[index].set(angle), chosen))(third[1:])
                return _minimise(jnp.concatenate([same[None], others]))

            best, values = jax.vmap(along)(jnp.arange(3))
            winner = jnp.argmin(values)
            carry = angles.at[index].set(best[winner]), axes.at[index].set(winner.astype(axes.dtype))
            return carry, values[winner]

        (angles, axes), values = jax.lax.scan(visit, (angles, axes), jnp.arange(angles.shape[0]))
        return angles, axes, values[-1]

    return sweep


def spsa(learning_rate: float, steps: int) -> optax.GradientTransformation:
    r"""Gradient descent with SPSA's gains $a / (A + k + 1)^{0.602}$, $A = 0.1 \cdot$ `steps`.

    Use it with `expectation(..., gradient="spsa")`, whose gradient costs two circuits.

    Args:
        learning_rate: The first step's gain.
        steps: Number of steps that are planned.

    Returns:
        The optax transformation.

    References:
        Spall, Implementation of the simultaneous perturbation algorithm, IEEE Transactions on Aerospace and
        Electronic Systems 34 (1998), section III.
    """
    stability = 0.1 * steps

    def gain(count: Any) -> Any:
        return learning_rate * ((stability + 1) / (stability + 1 + count)) ** 0.602

    return optax.sgd(gain)
