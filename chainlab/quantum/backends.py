"""Where circuits are evaluated: the exact simulator, or samples of it."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chainlab.errors import UsageError
from chainlab.quantum.circuit import Circuit
from chainlab.quantum.executions import describe, mark
from chainlab.quantum.matrices import Shift
from chainlab.quantum.observables import Observable
from chainlab.quantum.settings import settings_of
from chainlab.quantum.shift import Evaluate, Leaves
from chainlab.quantum.shots import sample, share
from chainlab.quantum.simulator import simulate


def exact(circuit: Circuit, observables: Sequence[Observable]) -> Evaluate:
    """Exact expectations of a circuit and its shifted copies.

    Args:
        circuit: The circuit.
        observables: What is measured.

    Returns:
        The evaluation; its key is not used.
    """

    def evaluate(leaves: Leaves, key: Any, shifts: Sequence[Shift]) -> tuple[Array, Array]:
        del key
        states, columns = simulate(circuit, leaves, shifts)
        found = jnp.concatenate([observable.evaluate(states) for observable in observables])
        return _split(circuit, found, columns, shifts, 1)

    return evaluate


def sampled(
    circuit: Circuit, observables: Sequence[Observable], shots: int, allocation: str, weights: np.ndarray | None
) -> Evaluate:
    """Expectations estimated from finite shots of a circuit and, independently, of each shifted copy.

    Args:
        circuit: The circuit.
        observables: What is measured, term by term.
        shots: Mean number of shots a setting.
        allocation: How shots are shared out among settings.
        weights: Coefficients of the expectations, for an allocation that asks for them.

    Returns:
        The evaluation.
    """
    settings = settings_of(observables)

    def evaluate(leaves: Leaves, key: Any, shifts: Sequence[Shift]) -> tuple[Array, Array]:
        if key is None:
            raise UsageError("a circuit with shots is random: call it with key=jax.random.key(...)")
        states, columns = simulate(circuit, leaves, shifts)
        counts = share(states, settings, weights, shots, allocation)
        return _split(circuit, sample(states, settings, counts, key), columns, shifts, len(settings))

    return evaluate


def _split(
    circuit: Circuit, found: Array, columns: Sequence[int], shifts: Sequence[Shift], circuits: int
) -> tuple[Array, Array]:
    """The circuit's own expectations, and those of the copies in the order in which they were asked for."""
    copies = found[:, 1:].T[np.argsort(columns)] if columns else jnp.zeros((0, len(found)), found.dtype)
    own = mark(found[:, 0], circuits, "circuit")
    return own, mark(copies, circuits * len(columns), describe(shifts, circuit.leaves))
