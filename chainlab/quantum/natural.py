"""The quantum natural gradient: steps measured by the distance between states."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.quantum.circuit import Circuit, compile_tape, record
from chainlab.quantum.simulator import simulate
from chainlab.typing import Params

Metric = Literal["block-diagonal", "diagonal", "full"]


def _layers(circuit: Circuit) -> list[int]:
    """For each leaf the layer of its gate: traced gates of a layer act on the same state, side by side."""
    layer = 0
    touched: set[int] = set()  # wires on which something happened since the layer's first traced gate
    layers = [0] * len(circuit.leaves)
    for gate in circuit.gates:
        if gate.traced:
            if touched & set(gate.wires):
                layer, touched = layer + 1, set()
            for slot in gate.slots:
                if isinstance(slot, int):
                    layers[slot] = layer
        if gate.traced or touched & set(gate.wires):
            touched |= set(gate.wires)
    return layers


def metric_tensor(circuit: Any, approximation: str = "block-diagonal") -> Callable[[Params], Float[Array, "n n"]]:
    r"""The Fubini-Study metric of a circuit's state.

    $g_{ij} = \mathrm{Re} \langle \partial_i \psi | \partial_j \psi \rangle - \langle \partial_i \psi | \psi \rangle
    \langle \psi | \partial_j \psi \rangle$ between gate angles, pulled back to the parameters by the chain rule.

    Args:
        circuit: A QNode or quantum function of one argument, the parameters.
        approximation: `block-diagonal` drops what belongs to gates of different layers (as hardware does, which
            measures each block on the state before the layer), `diagonal` all but the diagonal, `full` nothing.

    Returns:
        `metric(params)` over the flattened parameters.

    Raises:
        UsageError: The approximation is unknown.

    References:
        Stokes et al., Quantum natural gradient, arXiv:1909.02108, equations 5 and 12.
    """
    if approximation not in get_args(Metric):
        raise UsageError(f"approximation must be one of {', '.join(get_args(Metric))}, got {approximation!r}")

    def metric(params: Params) -> Array:
        flat, restore = ravel_pytree(params)

        def compiled_at(vector: Array) -> tuple[Circuit, list[Array]]:
            recording = record(circuit, (restore(vector),), {})
            return compile_tape(recording.tapes[0], recording.wires, one_angle=True)

        compiled, leaves = compiled_at(flat)

        def state(angles: Sequence[Array]) -> Array:
            final = simulate(compiled, angles)[0][:, 0]
            return jnp.stack([final.real, final.imag])

        parts = jnp.stack(jax.jacfwd(state)(leaves), axis=-1)
        slopes = jax.lax.complex(parts[0], parts[1])
        final = simulate(compiled, leaves)[0][:, 0]
        overlaps = jnp.conj(final) @ slopes
        gram = jnp.conj(slopes).T @ slopes - jnp.outer(jnp.conj(overlaps), overlaps)
        layers = np.array(_layers(compiled))
        masks = {
            "full": np.ones((len(layers), len(layers))),
            "block-diagonal": layers[:, None] == layers[None, :],
            "diagonal": np.eye(len(layers)),
        }
        angle_metric = gram.real * jnp.asarray(masks[approximation], gram.real.dtype)
        pull = jnp.stack(jax.jacfwd(lambda vector: compiled_at(vector)[1])(flat)).reshape(len(layers), -1)
        return pull.T @ angle_metric @ pull

    return metric


def natural_gradient(
    circuit: Any,
    learning_rate: optax.ScalarOrSchedule,
    *,
    approximation: str = "block-diagonal",
    regularization: float = 1e-3,
) -> optax.GradientTransformation:
    r"""Descend along $(g(\theta) + \lambda 1)^{-1} \nabla f$, as an optax transformation.

    Args:
        circuit: The circuit whose state sets the metric, a function of the parameters.
        learning_rate: Learning rate or schedule.
        approximation: See `metric_tensor`.
        regularization: What is added to the metric's diagonal, $\lambda$.

    Returns:
        The transformation; its `update` needs the parameters.

    References:
        Stokes et al., Quantum natural gradient, arXiv:1909.02108, equation 4.
    """
    metric = metric_tensor(circuit, approximation)

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        if params is None:
            raise UsageError("natural_gradient needs the parameters: call update(gradients, state, params)")
        flat, restore = ravel_pytree(updates)
        table = metric(params).astype(flat.dtype)
        return restore(jnp.linalg.solve(table + regularization * jnp.eye(len(flat), dtype=flat.dtype), flat)), state

    natural = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    return optax.chain(natural, optax.scale_by_learning_rate(learning_rate))
