"""Shifted copies of a circuit on few qubits: each moment, gates on different wires, is one matrix of the register.

On few qubits the time to compile outweighs all else. A moment takes a fixed number of operations, whatever the
number of its gates and copies, and most of these are matrix products, which XLA need not compile.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add, mul
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Int

from chainlab.quantum.circuit import Circuit
from chainlab.quantum.matrices import KindMatrices
from chainlab.quantum.statevector import embed

_WIRES = 4  # up to this many wires a moment's matrix costs no more than its gates one by one
_ZERO = 1e-15


@dataclass
class _Moment:
    """Traced gates on different wires, and the product of the constant gates between them and the next moment."""

    after: np.ndarray
    gates: list[int] = field(default_factory=list)


def in_moments(circuit: Circuit) -> bool:
    """Whether a circuit is small enough, and each of its gates given by a full matrix on its wires."""
    structured = any(gate.kind.diagonal or gate.kind.controls for gate in circuit.gates)
    return len(circuit.wires) <= _WIRES and not structured


def simulate_moments(
    circuit: Circuit, matrices: Sequence[KindMatrices], start: Complex[Array, "dim 1"]
) -> tuple[Complex[Array, "dim columns"], tuple[int, ...]]:
    r"""Final states of a circuit and of its shifted copies.

    A copy in which gate $G$ of a moment is $G'$ branches off after that moment, where the circuit is in the state
    $F \psi$, as $G' G^\dagger F \psi$.

    Args:
        circuit: The circuit, one for which `in_moments` holds.
        matrices: Its traced gates and their copies.
        start: The initial state.

    Returns:
        The states, that of the circuit itself first; and which shift each further column holds.
    """
    n = len(circuit.wires)
    wires = [gate.wires for gate in circuit.gates]
    entries = [_Entries(found, wires, n) for found in matrices]
    first, *moments = _moments(circuit)
    occupied = np.arange(2**n)  # basis states that the state before a moment has
    states = start.T  # a row for each copy: one matrix then multiplies those of all elements of a batch
    if circuit.preparation is None:
        occupied = np.flatnonzero(np.abs(first.after[:, 0]) > _ZERO)
        states = jnp.asarray(first.after[None, occupied, 0], start.dtype)
    else:
        states = _constant(first.after, states)
    columns: tuple[int, ...] = ()
    for moment in moments:
        factors = [own.factor(gate, occupied) for gate in moment.gates for own in entries if gate in own.rows]
        touched = {wire for gate in moment.gates for wire in wires[gate]}
        states = jnp.matmul(states, reduce(mul, factors + _untouched(touched, n, occupied, states.dtype)))
        parts = [states]
        for own in entries:
            if shifted := [gate for gate in moment.gates if gate in own.rows and own.rows[gate].columns]:
                parts.append(own.branches(shifted, states[0]))
                columns += tuple(column for gate in shifted for column in own.rows[gate].columns)
        states = _constant(moment.after, jnp.concatenate(parts))
        occupied = np.arange(2**n)
    return states.T, columns


def _moments(circuit: Circuit) -> list[_Moment]:
    """Each traced gate in the first moment after all that touched its wires; the first moment has no traced gate."""
    n = len(circuit.wires)
    last = [0] * n  # the moment that touched a wire last
    moments = [_Moment(np.eye(2**n, dtype=complex))]
    for index, gate in enumerate(circuit.gates):
        place = max((last[wire] for wire in gate.wires), default=0) + gate.traced
        for wire in gate.wires:
            last[wire] = place
        if place == len(moments):
            moments.append(_Moment(np.eye(2**n, dtype=complex)))
        if gate.traced:
            moments[place].gates.append(index)
        else:
            moments[place].after = embed(gate.kind.constant(gate.slots), gate.wires, n) @ moments[place].after
    return moments


def _constant(matrix: Complex[np.ndarray, "dim dim"], states: Complex[Array, "rows dim"]) -> Array:
    """Apply a constant matrix; one with a single entry in each row, as of CNOT and CZ, is no product."""
    entries = np.abs(matrix) > _ZERO
    if np.any(entries.sum(axis=1) != 1):
        return jnp.matmul(states, jnp.asarray(matrix.T, states.dtype))
    source = entries.argmax(axis=1)
    phases = matrix[np.arange(len(matrix)), source]
    states = states if np.all(source == np.arange(len(matrix))) else states[:, source]
    return states if np.all(phases == 1) else states * jnp.asarray(phases, states.dtype)[None]


def _untouched(touched: set[int], n: int, occupied: Int[np.ndarray, " rows"], dtype: Any) -> list[Array]:
    """The identity on the wires that a moment leaves alone, as a factor of its matrix; none where there are none."""
    bits, _ = _bits([wire for wire in range(n) if wire not in touched], n)
    return [] if len(touched) == n else [jnp.asarray(bits[occupied, None] == bits[None, :], dtype)]


class _Entries:
    r"""The gates of one kind on the register, entry by entry.

    With $s(i)$ the bits of the basis state $i$ on a gate's wires, and $i_b$ that state with these bits set to $b$, a
    gate maps $\psi$ to $\sum_b G_{s(i) b} \psi_{i_b}$.
    """

    def __init__(self, found: KindMatrices, wires: Sequence[tuple[int, ...]], n: int) -> None:
        self.rows = found.rows
        self._matrices = found.matrices
        self._bits = {gate: _bits(wires[gate], n) for gate in found.rows}

    def factor(self, gate: int, occupied: Int[np.ndarray, " rows"]) -> Complex[Array, "rows dim"]:
        """The gate's factor of its moment's matrix, transposed: $G_{s(j) s(i)}$ for occupied $i$."""
        bits, _ = self._bits[gate]
        matrix = self._matrices[..., self.rows[gate].own]
        return _take(jnp.ravel(matrix), bits[None, :] * len(matrix) + bits[occupied, None])

    def branches(self, gates: Sequence[int], state: Complex[Array, " dim"]) -> Complex[Array, "copies dim"]:
        r"""All copies of some gates of a moment, from the circuit's state after it: by $G' G^\dagger$."""
        owners = [gate for gate in gates for _ in self.rows[gate].copies]
        bits, partners = (np.stack(part) for part in zip(*(self._bits[gate] for gate in owners), strict=True))
        changed = self._matrices[..., np.concatenate([self.rows[gate].copies for gate in gates])]
        own = self._matrices[..., np.array([self.rows[gate].own for gate in owners])]
        flat = jnp.ravel(jnp.sum(changed[:, None] * jnp.conj(own)[None], axis=2))
        size, copy = len(changed), np.arange(len(owners))[:, None]
        entries = [_take(flat, (bits * size + b) * len(owners) + copy) for b in range(size)]
        return reduce(add, [entry * _take(state, partners[..., b]) for b, entry in enumerate(entries)])


def _bits(wires: Sequence[int], n: int) -> tuple[Int[np.ndarray, " dim"], Int[np.ndarray, "dim size"]]:
    """The numbers $s(i)$ and $i_b$ of all basis states $i$."""
    states, b = np.arange(2**n), np.arange(2 ** len(wires))
    bits, spread, mask = 0 * states, 0 * b, 0
    for k, wire in enumerate(wires):
        bits |= (states >> (n - 1 - wire) & 1) << (len(wires) - 1 - k)
        spread |= (b >> (len(wires) - 1 - k) & 1) << (n - 1 - wire)
        mask |= 1 << (n - 1 - wire)
    return bits, (states & ~mask)[:, None] | spread


def _take(flat: Complex[Array, " n"], index: Int[np.ndarray, "..."]) -> Complex[Array, "..."]:
    return flat.at[index].get(mode="promise_in_bounds")
