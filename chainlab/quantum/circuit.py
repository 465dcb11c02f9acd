"""From a PennyLane circuit to gates, the angles that they read, and what is measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Shaped

from chainlab.errors import UsageError
from chainlab.quantum.gates import Kind, kind_of
from chainlab.quantum.library import library_numerics, pennylane

_DENSE_WIRES = 5  # larger gates without a structure of their own are decomposed where they can be


@dataclass(frozen=True)
class Gate:
    """One gate of a circuit.

    Attributes:
        kind: What it computes.
        wires: Positions of its wires, controls first.
        slots: For each parameter the index of the leaf that it reads, or its constant value.
        operator: The PennyLane operator, for its name and wires; its parameters may be tracers.
    """

    kind: Kind
    wires: tuple[int, ...]
    slots: tuple[int | np.ndarray, ...]
    operator: Any

    @property
    def traced(self) -> bool:
        """Whether it reads a leaf."""
        return any(isinstance(slot, int) for slot in self.slots)


@dataclass(frozen=True)
class Leaf:
    """A gate parameter that is a JAX array.

    Attributes:
        rule: Its shift rule, None where it has none.
        gate: Name of the gate that reads it.
        batched: Whether its leading axis is PennyLane's broadcasting axis.
        scalar: Whether it is one real number (for each element of the batch).
    """

    rule: Float[np.ndarray, "_ 3"] | None
    gate: str
    batched: bool
    scalar: bool


@dataclass(frozen=True)
class Circuit:
    """A circuit apart from the values of its leaves.

    Attributes:
        gates: The gates in order.
        leaves: What they read.
        preparation: PennyLane's state preparation where the circuit starts with one, and what its parameters read.
        wires: Labels of the wires by position.
        measurements: PennyLane's measurement processes.
        shots: Shots that the circuit asks for itself.
    """

    gates: tuple[Gate, ...]
    leaves: tuple[Leaf, ...]
    preparation: tuple[Any, tuple[int | np.ndarray, ...]] | None
    wires: tuple[Any, ...]
    measurements: tuple[Any, ...]
    shots: int | None


@dataclass(frozen=True)
class Recording:
    """What one run of a quantum function recorded.

    Attributes:
        tapes: PennyLane's tapes, after the user's transforms.
        combine: `combine(results of the tapes) -> the function's result`, structured as the function
            returned its measurements.
        wires: The device's wires where the circuit is bound to a device that names them.
    """

    tapes: Sequence[Any]
    combine: Callable[[Sequence[Any]], Any]
    wires: tuple[Any, ...] | None


def record(circuit: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Recording:
    """Run a quantum function once and record what it applies and measures.

    Args:
        circuit: A QNode, a quantum function that returns measurements, or a PennyLane tape.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        The tapes and how to make the function's result of theirs.

    Raises:
        UsageError: The function does not return the measurements that it made.
    """
    library = pennylane()
    is_measurement = lambda value: isinstance(value, library.measurements.MeasurementProcess)  # noqa: E731
    with library_numerics():
        if isinstance(circuit, library.tape.QuantumScript):
            tape, output = circuit, tuple(circuit.measurements)
            output = output[0] if len(output) == 1 else output
        else:
            function = circuit.func if isinstance(circuit, library.QNode) else circuit
            with library.queuing.AnnotatedQueue() as queue:
                output = function(*args, **kwargs)
            shots = circuit.shots if isinstance(circuit, library.QNode) else None
            tape = library.tape.QuantumScript.from_queue(queue, shots)
        returned, structure = jax.tree.flatten(output, is_leaf=is_measurement)
        places = {id(measurement): place for place, measurement in enumerate(tape.measurements)}
        order = [places.get(id(value), -1) for value in returned]
        if not returned or sorted(order) != sorted(places.values()):
            raise UsageError(
                "the circuit must return every measurement that it makes, once (expval, var or probs, alone or in a "
                f"tuple, list or dict); got {output!r}"
            )
        tapes, post = [tape], tuple
        if isinstance(circuit, library.QNode):
            tapes, post = circuit.compile_pipeline((tape,))
        batch = [t for original in tapes for t in _defer(original)]

    def combine(results: Sequence[Any]) -> Any:
        with library_numerics():
            (result,) = post(tuple(results))  # a batch of one circuit
        found = [result] if len(returned) == 1 else list(result)
        return jax.tree.unflatten(structure, [found[place] for place in order])

    named = circuit.device.wires if isinstance(circuit, library.QNode) else None
    return Recording(batch, combine, tuple(named) if named else None)


def _defer(tape: Any) -> Sequence[Any]:
    """Measure at the end what the tape measures midway."""
    library = pennylane()
    midway = [op for op in tape.operations if isinstance(op, library.ops.MidMeasure)]
    if any(op.postselect is not None for op in midway):
        raise UsageError("postselection makes an expectation a quotient that no shift rule covers: remove postselect=")
    return library.defer_measurements(tape)[0] if midway else [tape]


def compile_tape(
    tape: Any, wires: tuple[Any, ...] | None = None, *, channels: bool = False, one_angle: bool = False
) -> tuple[Circuit, list[Shaped[Array, "..."]]]:
    """Break a tape into gates that each have a unitary and, for every traced angle, a shift rule.

    Args:
        tape: A PennyLane tape; parameters that are JAX arrays become leaves, all others are constants.
        wires: Labels of the device's wires, where it names them.
        channels: Whether noise channels are kept, for a device that can run them.
        one_angle: Whether traced gates are broken down to those with one angle and a generator.

    Returns:
        The circuit and the values of its leaves.

    Raises:
        UsageError: A gate is not unitary, has no matrix and cannot be decomposed, or a wire is not the device's.
    """
    builder = _Builder(_order(tape, wires), channels, one_angle)
    with library_numerics():
        operations = list(tape.operations)
        preparation = None
        if operations and isinstance(operations[0], pennylane().operation.StatePrepBase):
            first = operations.pop(0)
            preparation = (first, builder.read(first, [None] * len(first.data), first.name))
        for operation in operations:
            builder.add(operation)
    shots = tape.shots.total_shots if tape.shots else None
    return (
        Circuit(
            tuple(builder.gates), tuple(builder.leaves), preparation, builder.wires, tuple(tape.measurements), shots
        ),
        builder.values,
    )


def _order(tape: Any, wires: tuple[Any, ...] | None) -> tuple[Any, ...]:
    used = tuple(tape.wires)
    if wires is not None:
        if extra := [wire for wire in used if wire not in wires]:
            raise UsageError(f"the circuit uses wires {extra} that its device does not have (it has {list(wires)})")
        return wires
    return tuple(range(len(used))) if set(used) == set(range(len(used))) else used


class _Builder:
    """Collects gates and leaves while a tape is walked."""

    def __init__(self, wires: tuple[Any, ...], channels: bool, one_angle: bool) -> None:
        self.wires = wires
        self.channels = channels
        self.one_angle = one_angle
        self.gates: list[Gate] = []
        self.leaves: list[Leaf] = []
        self.values: list[Array] = []

    def add(self, operator: Any) -> None:
        """Append an operator, or what it decomposes into."""
        library = pennylane()
        skipped = (library.Barrier, library.Snapshot, library.WireCut, library.Identity, library.GlobalPhase)
        if isinstance(operator, skipped):
            return  # a global phase cannot be observed
        if isinstance(operator, library.operation.Channel):
            if self.channels:
                self._append(operator, kind_of(operator))
                return
            raise UsageError(
                f"{operator.name} is a noise channel, which a pure state cannot hold: use device='default.mixed'"
            )
        operator = _in_real_angle(operator)
        composite = operator.has_decomposition and _is_composite(operator)
        if not composite and not _constants_traced(operator) and _is_direct(operator):
            kind = kind_of(operator)
            traced = [isinstance(value, jax.Array) for value in operator.data]
            fit = not self.one_angle or not any(traced) or (len(traced) == 1 and operator.has_generator)
            if fit and all(rule is not None for rule, t in zip(kind.rules, traced, strict=True) if t):
                self._append(operator, kind)
                return
        if operator.has_decomposition and not isinstance(operator, _opaque()):
            with library.queuing.QueuingManager.stop_recording():
                parts = operator.decomposition()
            for part in parts:
                self.add(part)
        elif _constants_traced(operator) and operator.has_matrix:
            unitary = library.QubitUnitary(operator.matrix(), wires=operator.wires)
            self._append(unitary, kind_of(unitary), name=operator.name)
        elif operator.has_matrix:
            self._append(operator, kind_of(operator))
        else:
            raise UsageError(f"{operator.name} has neither a matrix nor a decomposition")

    def _append(self, operator: Any, kind: Kind, name: str | None = None) -> None:
        slots = self.read(operator, kind.rules, name or operator.name)
        self.gates.append(
            Gate(kind, tuple(self.wires.index(wire) for wire in _ordered_wires(operator)), slots, operator)
        )

    def read(self, operator: Any, rules: Sequence[np.ndarray | None], name: str) -> tuple[int | np.ndarray, ...]:
        """Make leaves of an operator's traced parameters; returns what each parameter reads."""
        slots: list[int | np.ndarray] = []
        for value, ndim, rule in zip(operator.data, operator.ndim_params if operator.data else (), rules, strict=True):
            batched = np.ndim(value) > ndim
            if isinstance(value, jax.Array) or batched:
                slots.append(len(self.leaves))
                self.leaves.append(Leaf(rule, name, batched, ndim == 0 and not np.iscomplexobj(value)))
                value = jnp.asarray(value)
                self.values.append(
                    value.astype(float)
                    if ndim == 0 and not jnp.iscomplexobj(value) and not jnp.issubdtype(value.dtype, jnp.floating)
                    else value
                )
            else:
                slots.append(np.asarray(value))
        return tuple(slots)


def _opaque() -> tuple[type, ...]:
    """Unitaries given by a matrix or an exponential: an angle decomposition of theirs has singular derivatives."""
    library = pennylane()
    return (library.QubitUnitary, library.ControlledQubitUnitary, library.BlockEncode, library.SpecialUnitary)


def _is_composite(operator: Any) -> bool:
    """Whether the operator is made of others, whose angles are shifted one by one."""
    library = pennylane()
    if isinstance(operator, library.ops.CompositeOp | library.ops.Pow):
        return True
    if isinstance(operator, library.ops.Controlled | library.ops.Adjoint):
        return _is_composite(operator.base)
    if isinstance(operator, library.ops.Exp):
        return False  # its parts are its generator's
    settings = (v if isinstance(v, list | tuple) else (v,) for v in operator.hyperparameters.values())
    return any(isinstance(value, library.operation.Operator) for values in settings for value in values)


def _is_direct(operator: Any) -> bool:
    """Whether the simulator applies the operator as it is."""
    library = pennylane()
    if isinstance(operator, library.ops.Controlled) and operator.has_matrix:
        return len(operator.base.wires) <= _DENSE_WIRES
    if len(operator.wires) <= _DENSE_WIRES:
        return operator.has_matrix or (operator.num_params > 0 and operator.has_decomposition and _ruled(operator))
    return operator.has_matrix and operator in library.ops.qubit.attributes.diagonal_in_z_basis


def _ruled(operator: Any) -> bool:
    """Whether the operator declares frequencies for all its parameters, so that it is one gate to shift."""
    try:
        return len(operator.parameter_frequencies) == operator.num_params
    except Exception:  # PennyLane has several exceptions for "undefined"
        return False


def _in_real_angle(operator: Any) -> Any:
    """Exponentials with a traced coefficient as time evolutions, whose one parameter is real."""
    library = pennylane()
    if type(operator) is library.ops.Exp and isinstance(operator.coeff, jax.Array):
        return library.ops.Evolution(operator.base, -jnp.imag(operator.coeff))
    return operator


def _constants_traced(operator: Any) -> bool:
    """Whether an operator holds a tracer that is none of its parameters, e.g. a coefficient of its Hamiltonian."""
    own = {id(value) for value in operator.data}

    def nested(value: Any) -> Iterator[Any]:
        if isinstance(value, pennylane().operation.Operator):
            yield from value.data
            for setting in value.hyperparameters.values():
                yield from nested(setting)
        elif isinstance(value, list | tuple):
            for item in value:
                yield from nested(item)
        else:
            yield value

    values = (v for setting in operator.hyperparameters.values() for v in nested(setting))
    return any(isinstance(value, Tracer) and id(value) not in own for value in values)


def _ordered_wires(operator: Any) -> Sequence[Any]:
    """The operator's wires, controls first, without work wires."""
    if isinstance(operator, pennylane().ops.Controlled):
        return [*operator.control_wires, *operator.base.wires]
    return list(operator.wires)
