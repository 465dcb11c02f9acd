"""Exact simulation of a circuit together with its shifted copies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Shaped

from chainlab.quantum.circuit import Circuit, Gate
from chainlab.quantum.gates import Kind
from chainlab.quantum.library import bind, library_numerics
from chainlab.quantum.matrices import KindMatrices, Shift, complex_dtype, traced_matrices
from chainlab.quantum.moments import in_moments, simulate_moments
from chainlab.quantum.statevector import apply, controlled, embed, multiply

_BLOCK_WIRES = 2  # gates are merged into blocks of up to this many wires


@dataclass
class _Block:
    """Gates that are multiplied together before they meet the state."""

    wires: tuple[int, ...]
    gates: list[int]


def _blocks(gates: Sequence[Gate]) -> list[_Block]:
    """Merge each gate into its neighbours where their wires together are few."""
    blocks: list[_Block | None] = []
    last: dict[int, int] = {}  # the block that touched a wire last
    for index, gate in enumerate(gates):
        special = gate.kind.diagonal or gate.kind.controls or len(gate.wires) > _BLOCK_WIRES
        before = sorted({last[wire] for wire in gate.wires if wire in last})
        merged: list[int] = []
        if not special:
            block = blocks[before[0]] if len(before) == 1 else None
            if block and len(block.wires) <= _BLOCK_WIRES and set(gate.wires) <= set(block.wires):
                block.gates.append(index)
                continue
            for place in before:
                block = blocks[place]
                if block and set(block.wires) <= set(gate.wires) and all(last[w] == place for w in block.wires):
                    merged += block.gates
                    blocks[place] = None
        blocks.append(_Block(gate.wires, [*merged, index]))
        for wire in gate.wires:
            last[wire] = len(blocks) - 1
    return [block for block in blocks if block is not None]


@dataclass(frozen=True)
class _Unitary:
    """A gate's or block's matrix, and those of its shifted copies.

    Attributes:
        matrix: The matrix, a NumPy array where it is constant.
        pattern: Entries that can differ from zero, where the matrix is traced.
        variants: The matrices of the shifted copies along a last axis.
        columns: Which shifts these are.
        kind: The gate's kind, where its structure matters to how it is applied.
    """

    matrix: Any
    pattern: Bool[np.ndarray, "sub sub"] | None = None
    variants: Array | None = None
    columns: tuple[int, ...] = ()
    kind: Kind | None = None

    def on(self, states: Array, wires: Sequence[int], matrix: Any = None) -> Array:
        """Apply the matrix (or that of copies) to every column."""
        matrix = self.matrix if matrix is None else matrix
        if self.kind and self.kind.diagonal:
            return multiply(jnp.asarray(matrix, states.dtype), states, wires)
        if self.kind and self.kind.controls:
            return controlled(matrix, states, wires, self.kind.controls, self.pattern)
        return apply(matrix, states, wires, self.pattern)


def _unitaries(circuit: Circuit, matrices: Sequence[KindMatrices]) -> list[_Unitary]:
    """Every gate's matrix."""
    result: list[_Unitary | None] = [
        None if gate.traced else _Unitary(gate.kind.constant(gate.slots), kind=gate.kind) for gate in circuit.gates
    ]
    for found in matrices:
        for index, (own, copies, columns) in found.rows.items():
            result[index] = _Unitary(
                found.matrices[..., own],
                None if found.kind.diagonal else found.kind.pattern,
                found.matrices[..., copies.start : copies.stop] if copies else None,
                columns,
                found.kind,
            )
    return [unitary for unitary in result if unitary is not None]


def _merge(block: _Block, gates: Sequence[Gate], unitaries: Sequence[_Unitary], dtype: Any) -> _Unitary:
    """The matrix of a block and of its copies with one gate shifted."""
    if len(block.gates) == 1:
        return unitaries[block.gates[0]]
    members = [(unitaries[i], [block.wires.index(wire) for wire in gates[i].wires]) for i in block.gates]
    wires = len(block.wires)
    dim = 2**wires
    if not any(gates[i].traced for i in block.gates):
        product = np.eye(dim, dtype=complex)
        for unitary, local in members:
            product = embed(unitary.matrix, local, wires) @ product
        return _Unitary(product)
    pattern = np.eye(dim, dtype=bool)
    base = jnp.eye(dim, dtype=dtype)
    branches: Array | None = None
    columns: tuple[int, ...] = ()
    for unitary, local in members:
        own = np.abs(unitary.matrix) > 1e-15 if unitary.pattern is None else unitary.pattern
        pattern = np.abs(embed(own, local, wires)) @ pattern > 0
        branches = _grow(unitary, base[:, None, :], branches, local)
        base = unitary.on(base, local)
        columns += unitary.columns
    variants = None if branches is None else jnp.moveaxis(branches, 1, -1)
    return _Unitary(base, pattern, variants, columns)


def _grow(
    unitary: _Unitary,
    base: Complex[Array, "dim 1 ..."],
    branches: Complex[Array, "dim copies ..."] | None,
    wires: Sequence[int],
) -> Complex[Array, "dim more ..."] | None:
    """Carry the copies shifted so far through a gate, and add those in which this gate is shifted."""
    carried = [] if branches is None else [unitary.on(branches, wires)]
    if unitary.variants is not None:
        variants = unitary.variants.reshape(*unitary.variants.shape, *(1,) * (base.ndim - 2))
        carried.append(unitary.on(base, wires, variants))
    if not carried:
        return None
    return carried[0] if len(carried) == 1 else jnp.concatenate(carried, axis=1)


def simulate(
    circuit: Circuit, leaves: Sequence[Shaped[Array, "..."]], shifts: Sequence[Shift] = ()
) -> tuple[Complex[Array, "dim columns"], tuple[int, ...]]:
    """Final states of a circuit and of its shifted copies.

    A copy shares every gate before its shifted one with the circuit itself: the circuit's state is carried
    once, and a copy branches off where it begins to differ. Gates after that act on all copies at once, with
    one matrix.

    Args:
        circuit: The circuit.
        leaves: Values of its leaves, without a broadcasting axis.
        shifts: The shifted copies.

    Returns:
        The states, that of the circuit itself first; and which shift each further column holds.
    """
    dtype = complex_dtype(leaves)
    matrices = traced_matrices(circuit, leaves, shifts, dtype)
    base = initial(circuit, leaves)
    if shifts and in_moments(circuit):
        return simulate_moments(circuit, matrices, base)
    unitaries = _unitaries(circuit, matrices)
    branches: Array | None = None
    columns: tuple[int, ...] = ()
    for block in _blocks(circuit.gates):
        unitary = _merge(block, circuit.gates, unitaries, dtype)
        columns += unitary.columns
        branches = _grow(unitary, base, branches, block.wires)
        base = unitary.on(base, block.wires)
    return (base if branches is None else jnp.concatenate([base, branches], axis=1)), columns


def initial(circuit: Circuit, leaves: Sequence[Shaped[Array, "..."]]) -> Complex[Array, "dim 1"]:
    """The state that the gates start from: all wires 0, or the circuit's state preparation."""
    dtype = complex_dtype(leaves)
    dim = 2 ** len(circuit.wires)
    if circuit.preparation is None:
        return jnp.zeros((dim, 1), dtype).at[0, 0].set(1)
    operator, slots = circuit.preparation
    data = [leaves[slot] if isinstance(slot, int) else slot for slot in slots]
    with library_numerics():
        bound = bind(operator, data)
        return jnp.asarray(bound.state_vector(wire_order=list(circuit.wires))).reshape(dim, 1).astype(dtype)


@dataclass(frozen=True)
class Step:
    """One application to the state: a block's or a gate's matrix on some wires."""

    unitary: _Unitary
    wires: tuple[int, ...]

    @property
    def matrix(self) -> Any:
        """The matrix (its diagonal, for a diagonal gate)."""
        return self.unitary.matrix

    @property
    def constant(self) -> bool:
        """Whether the matrix reads no leaf."""
        return isinstance(self.matrix, np.ndarray)

    def on(self, states: Array, matrix: Any = None) -> Array:
        """Apply it, or another matrix of the same structure."""
        return self.unitary.on(states, self.wires, matrix)

    def inverse_on(self, states: Array) -> Array:
        """Undo it."""
        matrix = self.matrix
        inverse = matrix.conj() if self.unitary.kind and self.unitary.kind.diagonal else matrix.conj().T
        pattern = None if self.unitary.pattern is None else self.unitary.pattern.T
        return replace(self.unitary, pattern=pattern).on(states, self.wires, inverse)


def steps(circuit: Circuit, leaves: Sequence[Shaped[Array, "..."]]) -> list[Step]:
    """A circuit as matrices on wires, in order."""
    dtype = complex_dtype(leaves)
    unitaries = _unitaries(circuit, traced_matrices(circuit, leaves, (), dtype))
    return [
        Step(_merge(block, circuit.gates, unitaries, dtype), tuple(block.wires)) for block in _blocks(circuit.gates)
    ]
