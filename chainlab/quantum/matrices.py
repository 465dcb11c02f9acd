"""Every gate's matrix, and those of its shifted copies, evaluated together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from chainlab.quantum.circuit import Circuit
from chainlab.quantum.gates import Kind
from chainlab.quantum.library import library_numerics


class Shift(NamedTuple):
    r"""One shifted copy of a circuit: the leaf `leaf` at $m \theta + s$."""

    leaf: int
    multiplier: float
    shift: float


class Rows(NamedTuple):
    """Where the matrices of a gate are: its own, those of its copies, and which shifts these are."""

    own: int
    copies: range
    columns: tuple[int, ...]


@dataclass(frozen=True)
class KindMatrices:
    """The matrices of the traced gates of one kind.

    Attributes:
        kind: The kind.
        matrices: Matrices (diagonals, for a diagonal kind) along a last axis.
        rows: Where those of each gate are, by the gate's place in the circuit.
    """

    kind: Kind
    matrices: Shaped[Array, "*sub rows"]
    rows: Mapping[int, Rows]


def traced_matrices(
    circuit: Circuit, leaves: Sequence[Shaped[Array, "..."]], shifts: Sequence[Shift], dtype: Any
) -> list[KindMatrices]:
    """The matrices of all traced gates; those of one kind, shifted copies included, are one vectorised evaluation.

    Args:
        circuit: The circuit.
        leaves: Values of its leaves, without a broadcasting axis.
        shifts: The shifted copies.
        dtype: Type of amplitudes.

    Returns:
        The matrices by kind.
    """
    place = {
        slot: (g, p)
        for g, gate in enumerate(circuit.gates)
        for p, slot in enumerate(gate.slots)
        if isinstance(slot, int)
    }
    copies: dict[int, list[tuple[int, int, float, float]]] = {}
    for column, (leaf, multiplier, shift) in enumerate(shifts):
        gate, parameter = place[leaf]
        copies.setdefault(gate, []).append((column, parameter, multiplier, shift))
    by_kind: dict[Kind, list[int]] = {}
    for index, gate in enumerate(circuit.gates):
        if gate.traced:
            by_kind.setdefault(gate.kind, []).append(index)

    found = []
    for kind, members in by_kind.items():
        positions = list(range(len(members)))
        changes: list[tuple[int, float, float] | None] = [None] * len(members)
        rows: dict[int, Rows] = {}
        for position, index in enumerate(members):
            start = len(positions)
            for _, parameter, multiplier, shift in copies.get(index, ()):
                positions.append(position)
                changes.append((parameter, multiplier, shift))
            columns = tuple(column for column, *_ in copies.get(index, ()))
            rows[index] = Rows(position, range(start, len(positions)), columns)
        data = []
        for parameter in range(len(circuit.gates[members[0]].slots)):
            values = _stack([circuit.gates[index].slots[parameter] for index in members], leaves, dtype)
            values = values[np.array(positions)] if len(positions) > len(members) else values
            if any(change and change[0] == parameter for change in changes):
                own = [change if change and change[0] == parameter else (0, 1.0, 0.0) for change in changes]
                values = values * np.array([m for _, m, _ in own], values.dtype)
                values = values + np.array([s for _, _, s in own], values.dtype)
            data.append(values)
        with library_numerics():
            matrices = jax.vmap(kind.matrix, out_axes=-1)(*data).astype(dtype)
        found.append(KindMatrices(kind, matrices, rows))
    return found


def _stack(slots: Sequence[int | np.ndarray], leaves: Sequence[Array], dtype: Any) -> Shaped[Array, "gates ..."]:
    real = jnp.finfo(dtype).dtype
    values = [leaves[slot] if isinstance(slot, int) else slot for slot in slots]
    wanted = dtype if any(jnp.iscomplexobj(value) for value in values) else real
    return jnp.stack([jnp.asarray(value, wanted) for value in values])


def complex_dtype(leaves: Sequence[Shaped[Array, "..."]]) -> Any:
    """The type of amplitudes: double precision where a leaf is, and where there is none JAX's default."""
    inexact = [leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    if not inexact:
        return jnp.zeros(0, complex).dtype
    double = any(jnp.finfo(dtype).bits == 64 for dtype in inexact)
    return jnp.dtype(jnp.complex128 if double else jnp.complex64)
