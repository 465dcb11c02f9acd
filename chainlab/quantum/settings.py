"""Measurement settings: which words one circuit measures together, and what its outcomes are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from chainlab.errors import UsageError
from chainlab.quantum.observables import Matrix, Observable, PauliSums, Probabilities, Word
from chainlab.quantum.statevector import apply, marginal

_HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
_FROM_Y = _HADAMARD @ np.diag([1, -1j])


@dataclass(frozen=True)
class Setting:
    """One circuit that is executed for its samples.

    Attributes:
        basis: Gates before the readout, as matrices and wires.
        wires: The wires that are read.
        table: What each outcome adds to each expectation that the setting yields.
        rows: Which expectations these are.
    """

    basis: tuple[tuple[np.ndarray, tuple[int, ...]], ...]
    wires: tuple[int, ...]
    table: Float[np.ndarray, "expectations outcomes"]
    rows: tuple[int, ...]

    def probabilities(self, states: Complex[Array, "dim columns"]) -> Float[Array, "outcomes columns"]:
        """Probabilities of the outcomes in each column's state."""
        for unitary, wires in self.basis:
            states = apply(unitary, states, wires)
        found = marginal(jnp.square(states.real) + jnp.square(states.imag), self.wires)
        return found / jnp.sum(found, axis=0, keepdims=True)


def settings_of(observables: Sequence[Observable]) -> tuple[Setting, ...]:
    """Group what is measured into settings.

    Words that agree, wire by wire, on the Pauli matrix or have none there are read from the same samples.

    Args:
        observables: Observables of measurements made with `term_by_term`.

    Returns:
        The settings; together they yield every expectation once.

    Raises:
        UsageError: An observable is too large to be diagonalised.
    """
    settings: list[Setting] = []
    words: list[tuple[int, Word]] = []
    row = 0
    for observable in observables:
        rows = tuple(range(row, row + observable.size))
        row += observable.size
        if isinstance(observable, PauliSums):
            words += zip(rows, observable.words, strict=True)
        elif isinstance(observable, Probabilities):
            settings.append(Setting(observable.basis, observable.wires, np.eye(observable.size), rows))
        elif isinstance(observable, Matrix):
            levels, vectors = np.linalg.eigh(observable.matrix)
            settings.append(Setting(((vectors.conj().T, observable.wires),), observable.wires, levels[None, :], rows))
        else:
            raise UsageError(
                "an observable without Pauli words on more than six wires cannot be sampled: use shots=None"
            )
    groups: list[list[tuple[int, Word]]] = []
    for item in words:
        for group in groups:
            if all(_compatible(item[1], other) for _, other in group):
                group.append(item)
                break
        else:
            groups.append([item])
    return (*settings, *map(_word_setting, groups))


def _compatible(a: Word, b: Word) -> bool:
    shared = (a.x | a.z) & (b.x | b.z)
    return not shared & ((a.x ^ b.x) | (a.z ^ b.z))


def _word_setting(group: Sequence[tuple[int, Word]]) -> Setting:
    n = group[0][1].wires
    x = z = 0
    for _, word in group:
        x, z = x | word.x, z | word.z
    bit = [1 << (n - 1 - wire) for wire in range(n)]
    wires = tuple(wire for wire in range(n) if (x | z) & bit[wire])
    basis = tuple((_FROM_Y if z & bit[w] else _HADAMARD, (w,)) for w in wires if x & bit[w])
    outcomes = np.arange(2 ** len(wires))
    table = []
    for _, word in group:
        parity = np.zeros_like(outcomes)
        for position, wire in enumerate(wires):
            if (word.x | word.z) & bit[wire]:
                parity ^= outcomes >> (len(wires) - 1 - position) & 1
        table.append(1.0 - 2.0 * parity)
    return Setting(basis, wires, np.array(table), tuple(row for row, _ in group))
