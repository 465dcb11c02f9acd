"""The adjoint method: one pass backwards through the gates, in the memory of two states."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainlab.quantum.circuit import Circuit
from chainlab.quantum.executions import mark
from chainlab.quantum.observables import Observable
from chainlab.quantum.simulator import Step, initial, steps


def adjoint(circuit: Circuit, observables: Sequence[Observable]) -> Callable[..., Array]:
    r"""A function of leaves with the adjoint derivative.

    Gates are undone one by one, $\psi_{k} = U_k^\dagger \psi_{k+1}$, so that no state in between is stored.

    Args:
        circuit: The circuit.
        observables: What is measured.

    Returns:
        `f(key, *leaves) -> expectations`, differentiable in reverse mode.

    References:
        Jones and Gacon, Efficient calculation of gradients in classical simulations of variational quantum
        algorithms, arXiv:2009.02823, algorithm 1.
    """

    def measure(state: Array) -> Array:
        return jnp.concatenate([observable.evaluate(state) for observable in observables])[:, 0]

    def run(leaves: Sequence[Array]) -> Array:
        state = initial(circuit, leaves)
        for step in steps(circuit, leaves):
            state = step.on(state)
        return state

    @jax.custom_vjp
    def call(*leaves: Array) -> Array:
        return mark(measure(run(leaves)), 1, "circuit")

    def forward(*leaves: Array) -> tuple[Array, Any]:
        state = run(leaves)
        return mark(measure(state), 1, "circuit"), (leaves, state)

    def backward(saved: Any, cotangent: Array) -> tuple[Array, ...]:
        leaves, state = saved
        program = steps(circuit, leaves)
        _, pull_matrices = jax.vjp(lambda *own: _traced(steps(circuit, own)), *leaves)
        (flow,) = jax.vjp(measure, state)[1](cotangent)
        flows: list[Array] = []
        for step in reversed(program):
            state = step.inverse_on(state)
            if step.constant:
                (flow,) = jax.vjp(step.on, state)[1](flow)
            else:
                flow, by_matrix = jax.vjp(step.on, state, step.matrix)[1](flow)
                flows.append(by_matrix)
        _, pull_initial = jax.vjp(lambda *own: initial(circuit, own), *leaves)
        return tuple(map(_sum, pull_matrices(flows[::-1]), pull_initial(flow)))

    call.defvjp(forward, backward)
    return lambda key, *leaves: call(*leaves)


def _traced(program: Sequence[Step]) -> list[Array]:
    return [step.matrix for step in program if not step.constant]


def _sum(a: Array, b: Array) -> Array:
    return a if a.dtype == jax.dtypes.float0 else a + b
