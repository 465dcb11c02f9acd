"""Gates as data: what a gate computes and how it is differentiated, apart from its angles and wires."""

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex, Float, Shaped

from chainlab.quantum.library import bind, constant_numerics, pennylane
from chainlab.quantum.rules import shift_rule

_SMALL = 3  # wires up to which a controlled gate is one dense matrix


class _IncomparableError(Exception):
    """A setting of an operator cannot be compared, so that the operator shares its kind with no other."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Gates that differ in their angles and wires alone.

    Attributes:
        template: The operator on wires 0, 1, ..., at generic angles.
        controls: Values of control wires that come before those of the template.
    """

    template: Any
    controls: tuple[bool, ...] = ()

    @property
    def width(self) -> int:
        """Number of wires of `matrix`."""
        return len(self.template.wires)

    @functools.cached_property
    def rules(self) -> tuple[Float[np.ndarray, "_ 3"] | None, ...]:
        """The shift rule of each parameter, None for one that has none."""
        gate = self.template
        if self.controls:  # further controls do not change the frequencies
            gate = pennylane().ctrl(gate, control="control")
        return tuple(
            shift_rule(gate, i) if np.ndim(value) == 0 and not np.iscomplexobj(value) else None
            for i, value in enumerate(gate.data)
        )

    @functools.cached_property
    def _levels(self) -> tuple[Float[np.ndarray, " dim"], Complex[np.ndarray, "dim dim"]]:
        with constant_numerics():
            return np.linalg.eigh(np.asarray(self.template.base.matrix(), np.complex128))

    @functools.cached_property
    def diagonal(self) -> bool:
        """Whether the unitary is diagonal and given by its diagonal alone."""
        return self.width > _SMALL and self.template in pennylane().ops.qubit.attributes.diagonal_in_z_basis

    def matrix(self, *data: Any) -> Shaped[Any, "dim dim"] | Shaped[Any, " dim"]:
        """The unitary at given parameters, traced or not; its diagonal where `diagonal` is set."""
        library = pennylane()
        if isinstance(self.template, library.ops.Evolution):
            levels, vectors = self._levels
            phases = library.math.exp(-1j * levels * data[0])
            return (vectors * phases) @ vectors.conj().T
        bound = bind(self.template, data)
        if self.diagonal:
            return bound.eigvals()
        return library.matrix(bound, wire_order=self.template.wires)

    def constant(self, data: Any) -> np.ndarray:
        """The unitary at constant parameters."""
        with constant_numerics():
            return np.asarray(self.matrix(*data), np.complex128)

    @functools.cached_property
    def pattern(self) -> Bool[np.ndarray, "dim dim"]:
        """Which entries of the unitary can differ from zero."""
        dim = 2**self.width
        data = self.template.data
        if any(np.ndim(value) for value in data):
            return np.ones((dim, dim), bool)
        with constant_numerics():  # no entry vanishes by accident at two generic points
            points = [np.asarray(self.matrix(*(value + offset for value in data))) for offset in (0.0, 0.7)]
        return np.any(np.abs(points) > 1e-14, axis=0)


_kinds: dict[Hashable, Kind] = {}  # rules and patterns cost numerical work: done once a process


def kind_of(operator: Any) -> Kind:
    """The kind of an operator; the same object for operators that differ in angles and wires alone.

    Args:
        operator: A PennyLane operator with a matrix.

    Returns:
        Its kind.
    """
    library = pennylane()
    controls: tuple[bool, ...] = ()
    if isinstance(operator, library.ops.Controlled) and len(operator.wires) > _SMALL:
        controls = tuple(bool(value) for value in operator.control_values)
        operator = operator.base
    local = operator.map_wires({wire: i for i, wire in enumerate(operator.wires)})
    if any(np.ndim(value) for value in local.data):
        return Kind(local, controls)
    generic = [0.3 + 0.1 * i for i in range(len(local.data))]
    try:
        signature = (controls, _signature(local, {id(value) for value in local.data}))
    except _IncomparableError:
        return Kind(bind(local, generic), controls)
    if signature not in _kinds:
        _kinds[signature] = Kind(bind(local, generic), controls)
    return _kinds[signature]


def _signature(value: Any, angles: set[int]) -> Hashable:
    """What must agree for two operators to be of one kind: everything but the angles."""
    library = pennylane()
    if isinstance(value, library.operation.Operator):
        constants = tuple(_signature(v, angles) for v in value.data if id(v) not in angles)
        settings = tuple((key, _signature(setting, angles)) for key, setting in value.hyperparameters.items())
        return (type(value), value.name, tuple(value.wires), len(value.data), constants, settings)
    if isinstance(value, list | tuple | library.wires.Wires):
        return tuple(_signature(item, angles) for item in value)
    if value is None or isinstance(value, str | bool | int | float | complex | np.number | np.bool_):
        return (type(value), value)
    raise _IncomparableError
