"""Pictures of circuits and of the landscapes that they make."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from chainlab.quantum.circuit import record
from chainlab.quantum.library import library_numerics, pennylane
from chainlab.typing import Params, PRNGKey

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_circuit(circuit: Any, *args: Any) -> "Figure":
    """Draw a circuit at given arguments.

    Args:
        circuit: A QNode or quantum function.
        *args: Its arguments.

    Returns:
        The figure.
    """
    (tape, *_) = record(circuit, args, {}).tapes
    with library_numerics():
        figure, _ = pennylane().drawer.tape_mpl(tape, decimals=2, style="black_white")
    return figure


def landscape(
    objective: Callable[[Params], Float[Array, ""]],
    params: Params,
    key: PRNGKey,
    *,
    span: float = np.pi,
    points: int = 25,
) -> "Figure":
    r"""A plane of the objective through the parameters, along two random orthogonal directions of length $\sqrt n$.

    Args:
        objective: A function of the parameters.
        params: The centre.
        key: Draws the directions.
        span: How far the plane reaches to each side, in radians a parameter.
        points: Points along each side.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    flat, restore = ravel_pytree(params)
    directions, _ = jnp.linalg.qr(jax.random.normal(key, (flat.shape[0], 2), flat.dtype))
    directions = directions * jnp.sqrt(jnp.asarray(flat.shape[0], flat.dtype))
    steps = jnp.linspace(-span, span, points, dtype=flat.dtype)

    def at(u: Array, v: Array) -> Array:
        return objective(restore(flat + u * directions[:, 0] + v * directions[:, 1]))

    heights = jax.jit(jax.vmap(lambda u: jax.lax.map(lambda v: at(u, v), steps)))(steps)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    filled = axes.contourf(np.asarray(steps), np.asarray(steps), np.asarray(heights).T, levels=24, cmap="viridis")
    axes.plot(0, 0, "r+", markersize=12)
    axes.set(xlabel="first direction (rad)", ylabel="second direction (rad)")
    figure.colorbar(filled, label="objective")
    return figure


def variance_bars(gradients: Float[Array, "draws parameters"], labels: Sequence[str] = ()) -> "Figure":
    """Variance of the gradient by parameter, on a logarithmic scale.

    Args:
        gradients: Draws of the gradient.
        labels: Names of the parameters.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    variances = np.var(np.asarray(gradients), axis=0)
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(len(variances)), np.maximum(variances, 1e-12))
    axes.set(yscale="log", xlabel="parameter", ylabel="variance of the gradient")
    if labels:
        axes.set_xticks(np.arange(len(labels)), labels, rotation=90, fontsize=6)
    return figure
