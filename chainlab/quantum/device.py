"""Real devices: every circuit of a gradient in one batch, through one callback out of JAX."""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chainlab.errors import ChainlabError, UsageError
from chainlab.quantum.circuit import Circuit
from chainlab.quantum.executions import describe, mark
from chainlab.quantum.library import bind, library_numerics, pennylane
from chainlab.quantum.matrices import Shift, complex_dtype
from chainlab.quantum.observables import Observable, PauliSums
from chainlab.quantum.shift import Evaluate, Leaves


class DeviceError(ChainlabError):
    """A quantum device failed, after all retries."""


@dataclass
class Cost:
    """What was really submitted to devices: circuits, and batches of them."""

    circuits: int = 0
    batches: int = 0


_counters: list[Cost] = []  # callbacks run on threads of XLA's, so that a context variable would not reach them


@contextlib.contextmanager
def counting() -> Generator[Cost]:
    """Count the circuits and batches that devices are sent while the context is open.

    Example:
        >>> import jax, pennylane as qml
        >>> from chainlab.quantum import counting, expectation
        >>> def circuit(x):
        ...     qml.RX(x, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> with counting() as cost:
        ...     _ = jax.value_and_grad(expectation(circuit, device="default.qubit"))(0.5)
        >>> cost
        Cost(circuits=3, batches=1)
    """
    cost = Cost()
    _counters.append(cost)
    try:
        yield cost
    finally:
        jax.effects_barrier()
        _counters.remove(cost)


def open_device(device: Any, options: Mapping[str, Any], wires: Sequence[Any]) -> Any:
    """A PennyLane device by name, or the device that was given.

    Args:
        device: Its name (`lightning.qubit`, `default.mixed`, or that of any installed plug-in), or a device.
        options: Arguments of the device.
        wires: Wires of the circuit.

    Returns:
        The device.

    Raises:
        UsageError: There is no such device, or it does not take these options.
    """
    library = pennylane()
    if not isinstance(device, str):
        if options:
            raise UsageError("device options go with a device's name; a device that is given has its own already")
        return device
    try:
        with library_numerics():
            return library.device(device, **{"wires": list(wires), **options})
    except Exception as error:
        known = ", ".join(sorted(library.plugin_devices))
        raise UsageError(
            f"device {device!r} cannot be opened with {dict(options)}: {error}; installed: {known}"
        ) from error


def on_device(
    circuit: Circuit, observables: Sequence[Observable], device: Any, shots: int | None, retries: int
) -> Evaluate:
    """Expectations from a device; the circuit and its shifted copies are one batch, of every example under `vmap`.

    Args:
        circuit: The circuit.
        observables: What is measured.
        device: A PennyLane device.
        shots: Shots of each circuit, None for exact expectations.
        retries: How often a batch is sent again after a failure.

    Returns:
        The evaluation; randomness is the device's own, its key is not used.
    """
    processes = as_processes(observables, circuit.wires)
    size = sum(observable.size for observable in observables)

    def evaluate(leaves: Leaves, key: Any, shifts: Sequence[Shift]) -> tuple[Array, Array]:
        del key
        dtype = jnp.finfo(complex_dtype(leaves)).dtype

        def submit(*values: Any) -> np.ndarray:
            batch = np.shape(values[0])[: np.ndim(values[0]) - leaves[0].ndim] if values else ()
            flat = [np.reshape(np.asarray(v), (-1, *leaf.shape)) for v, leaf in zip(values, leaves, strict=True)]
            tapes = [
                as_tape(circuit, processes, shots, row)
                for index in range(int(np.prod(batch, dtype=int)))
                for row in _copies([np.asarray(v[index]) for v in flat], shifts)
            ]
            results = _execute(device, tapes, retries)
            table = [np.concatenate([np.ravel(part) for part in as_tuple(result)]) for result in results]
            return np.reshape(table, (*batch, 1 + len(shifts), size)).astype(dtype)

        shape = jax.ShapeDtypeStruct((1 + len(shifts), size), dtype)
        found = jax.pure_callback(submit, shape, *leaves, vmap_method="broadcast_all")
        what = f"circuit, {describe(shifts, circuit.leaves)}" if shifts else "circuit"
        found = mark(found, 1 + len(shifts), what)
        return found[0], found[1:]

    return evaluate


def _copies(values: Sequence[np.ndarray], shifts: Sequence[Shift]) -> Generator[list[np.ndarray]]:
    yield list(values)
    for leaf, multiplier, shift in shifts:
        moved = list(values)
        moved[leaf] = multiplier * moved[leaf] + shift
        yield moved


def as_processes(observables: Sequence[Observable], wires: Sequence[Any]) -> list[Any]:
    """PennyLane's measurements of all observables, in order."""
    with library_numerics():
        return [process for o in observables for process in _processes(o, wires)]


def as_tuple(result: Any) -> Sequence[Any]:
    """Results of one or several measurements as a sequence."""
    return result if isinstance(result, list | tuple) else (result,)


def as_tape(circuit: Circuit, processes: Sequence[Any], shots: int | None, values: Sequence[Any]) -> Any:
    """The circuit at given leaves, as a PennyLane tape."""

    def fill(operator: Any, slots: Sequence[int | np.ndarray]) -> Any:
        if not any(isinstance(slot, int) for slot in slots):
            return operator
        data = [values[slot] if isinstance(slot, int) else slot for slot in slots]
        return bind(operator, [v.item() if isinstance(v, np.ndarray) and v.ndim == 0 else v for v in data])

    operations = [fill(gate.operator, gate.slots) for gate in circuit.gates]
    if circuit.preparation is not None:
        operations.insert(0, fill(*circuit.preparation))
    return pennylane().tape.QuantumScript(operations, processes, shots=shots)


def _processes(observable: Any, wires: Sequence[Any]) -> list[Any]:
    """PennyLane's measurements of an observable."""
    library = pennylane()
    if not isinstance(observable, PauliSums):
        return [observable.process(wires)]
    words = [library.pauli.PauliWord(word.letters(wires)).operation(wire_order=wires) for word in observable.words]
    found = []
    for row in observable.weights:
        chosen = [(weight, word) for weight, word in zip(row, words, strict=True) if weight]
        single = len(chosen) == 1 and chosen[0][0] == 1
        found.append(library.expval(chosen[0][1] if single else library.dot(*map(list, zip(*chosen, strict=True)))))
    return found


def _execute(device: Any, tapes: Sequence[Any], retries: int) -> Sequence[Any]:
    """Send one batch; it is sent again after a failure."""
    for cost in _counters:
        cost.circuits += len(tapes)
        cost.batches += 1
    for attempt in range(retries + 1):
        try:
            with library_numerics():
                return pennylane().execute(tapes, device, diff_method=None)
        except Exception as error:
            if attempt == retries:
                raise DeviceError(
                    f"{device.name} failed on a batch of {len(tapes)} circuits, {retries + 1} times in a row; the last "
                    f"error: {type(error).__name__}: {error}"
                ) from error
    raise AssertionError
