"""Gradients by Hadamard tests: one circuit with an auxiliary wire for each Pauli word of a gate's generator."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from chainlab.errors import UsageError
from chainlab.quantum.backends import exact
from chainlab.quantum.circuit import Circuit, compile_tape
from chainlab.quantum.device import as_processes, as_tape, as_tuple
from chainlab.quantum.library import library_numerics, pennylane
from chainlab.quantum.observables import Observable, measurement_of


def hadamard(circuit: Circuit, observables: Sequence[Observable]) -> Callable[..., Array]:
    r"""A function of leaves whose first derivative is a sum of Hadamard tests, $2 \sum_j c_j \langle Y_a O \rangle_j$.

    Args:
        circuit: The circuit; the gates that are differentiated need a generator.
        observables: What is measured.

    Returns:
        `f(key, *leaves) -> expectations`.

    References:
        Li et al., Hybrid quantum-classical approach to quantum optimal control, arXiv:1608.00677;
        PennyLane's `qml.gradients.hadamard_grad`, which makes the circuits.
    """
    library = pennylane()
    evaluate = exact(circuit, observables)
    processes = as_processes(observables, circuit.wires)

    @jax.custom_jvp
    def call(*leaves: Array) -> Array:
        return evaluate(leaves, None, ())[0]

    @partial(call.defjvp, symbolic_zeros=True)
    def rule(leaves: Sequence[Array], tangents: Sequence[Any]) -> tuple[Array, Array]:
        active = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]
        result = call(*leaves)
        slope = jnp.zeros_like(result)
        tape = as_tape(circuit, processes, None, leaves)
        places = _places(circuit)
        for leaf in active:
            tape.trainable_params = [places[leaf]]
            with library_numerics():
                try:
                    batch, combine = library.gradients.hadamard_grad.tape_transform(tape, aux_wire="auxiliary")
                except Exception as error:
                    raise UsageError(
                        f"{circuit.leaves[leaf].gate} has no Hadamard test ({error}): "
                        "use gradient='parameter-shift' or 'backprop'"
                    ) from error
                derivative = combine([_value(own) for own in batch])
            parts = [jnp.ravel(jnp.asarray(part, result.dtype)) for part in as_tuple(derivative)]
            slope = slope + jnp.concatenate(parts) * tangents[leaf].astype(result.dtype)
        return result, slope

    return lambda key, *leaves: call(*leaves)


def _value(tape: Any) -> Any:
    """The results of one tape, as PennyLane would give them."""
    compiled, values = compile_tape(tape)
    measurements = [measurement_of(process, compiled.wires) for process in compiled.measurements]
    observables = [observable for measurement in measurements for observable in measurement.observables]
    found = exact(compiled, observables)(values, None, ())[0]
    parts, start = [], 0
    for measurement in measurements:
        parts.append(measurement.finish(found[start : start + measurement.size]))
        start += measurement.size
    return parts[0] if len(parts) == 1 else tuple(parts)


def _places(circuit: Circuit) -> dict[int, int]:
    """Where PennyLane counts each leaf among all parameters of the tape."""
    slots = list(circuit.preparation[1]) if circuit.preparation else []
    for gate in circuit.gates:
        slots += gate.slots
    return {slot: place for place, slot in enumerate(slots) if isinstance(slot, int)}
