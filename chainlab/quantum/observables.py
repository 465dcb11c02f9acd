"""What is measured: observables as sums of Pauli words, matrices, and probabilities."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.core import Tracer
from jaxtyping import Array, Complex, Float, Int, Shaped

from chainlab.errors import UsageError
from chainlab.quantum.library import library_numerics, pennylane
from chainlab.quantum.statevector import apply, flip, marginal

_DENSE_WIRES = 6  # observables without Pauli words on more wires are stored sparse


@dataclass(frozen=True)
class Word:
    r"""A Pauli word as bit masks: $P |i> = p_i |i \oplus x>$, with wire 0 the highest bit.

    Attributes:
        x: Wires with X or Y.
        z: Wires with Z or Y.
        wires: Number of wires of the register.
    """

    x: int
    z: int
    wires: int

    @functools.cached_property
    def phases(self) -> Complex[np.ndarray, " dim"]:
        """The factors $p_i$."""
        index = np.arange(2**self.wires)
        sign = 1.0 - 2.0 * (np.bitwise_count(index & self.z) & 1)
        return (1j) ** int(self.x & self.z).bit_count() * sign

    def letters(self, labels: Sequence[Any]) -> dict[Any, str]:
        """Pauli letters by wire."""
        bits = [(label, 1 << (self.wires - 1 - position)) for position, label in enumerate(labels)]
        return {
            label: "_XZY"[bool(self.x & bit) + 2 * bool(self.z & bit)] for label, bit in bits if (self.x | self.z) & bit
        }


def word_of(pauli: Mapping[Any, str], wires: Sequence[Any]) -> Word:
    """The masks of a PennyLane Pauli word.

    Args:
        pauli: Pauli letters by wire.
        wires: Labels of the register's wires by position.

    Returns:
        The word.
    """
    bit = {wire: 1 << (len(wires) - 1 - position) for position, wire in enumerate(wires)}
    return Word(
        sum(bit[wire] for wire, letter in pauli.items() if letter in "XY"),
        sum(bit[wire] for wire, letter in pauli.items() if letter in "YZ"),
        len(wires),
    )


@dataclass(frozen=True)
class PauliSums:
    """Expectations of fixed real combinations of Pauli words, one a row of `weights`."""

    words: tuple[Word, ...]
    weights: Float[np.ndarray, "size words"]

    @property
    def size(self) -> int:
        """Number of expectations."""
        return len(self.weights)

    def evaluate(self, states: Complex[Array, "dim columns"]) -> Float[Array, "size columns"]:
        """The expectations in each column's state."""
        total = jnp.zeros((self.size, states.shape[1]), states.real.dtype)
        for x in sorted({word.x for word in self.words}):  # words that flip the same bits share one product
            chosen = [i for i, word in enumerate(self.words) if word.x == x]
            table = self.weights[:, chosen] @ np.stack([self.words[i].phases for i in chosen])
            overlap = jnp.conj(flip(states, x)) * states if x else jnp.square(states.real) + jnp.square(states.imag)
            for part, values in ((np.real(table), overlap.real), (-np.imag(table), overlap.imag)):
                if np.any(part):
                    total = total + jnp.asarray(part, total.dtype) @ values
        return total


@dataclass(frozen=True)
class Matrix:
    """Expectation of a Hermitian matrix on some wires."""

    matrix: Complex[np.ndarray, "sub sub"]
    wires: tuple[int, ...]
    size: int = 1

    def evaluate(self, states: Complex[Array, "dim columns"]) -> Float[Array, "1 columns"]:
        """The expectation in each column's state."""
        image = apply(self.matrix, states, self.wires)
        return jnp.sum(jnp.conj(states) * image, axis=0).real[None, :]

    def process(self, labels: Sequence[Any]) -> Any:
        """PennyLane's measurement of it."""
        library = pennylane()
        return library.expval(library.Hermitian(self.matrix, wires=[labels[wire] for wire in self.wires]))


@dataclass(frozen=True)
class Sparse:
    """Expectation of a sparse Hermitian matrix on the whole register, by rows, columns and entries."""

    rows: Int[np.ndarray, " entries"]
    columns: Int[np.ndarray, " entries"]
    entries: Complex[np.ndarray, " entries"]
    size: int = 1

    def evaluate(self, states: Complex[Array, "dim columns"]) -> Float[Array, "1 columns"]:
        """The expectation in each column's state."""
        entries = jnp.asarray(self.entries, states.dtype)[:, None]
        return jnp.sum(jnp.conj(states[self.rows]) * entries * states[self.columns], axis=0).real[None, :]

    def process(self, labels: Sequence[Any]) -> Any:
        """PennyLane's measurement of it."""
        library = pennylane()
        dim = 2 ** len(labels)
        matrix = scipy.sparse.csr_matrix((self.entries, (self.rows, self.columns)), shape=(dim, dim))
        return library.expval(library.SparseHamiltonian(matrix, wires=list(labels)))


@dataclass(frozen=True)
class Probabilities:
    """Probabilities of the outcomes of some wires, after a change of basis."""

    wires: tuple[int, ...]
    basis: tuple[tuple[np.ndarray, tuple[int, ...]], ...]
    observable: Any = None

    @property
    def size(self) -> int:
        """Number of outcomes."""
        return 2 ** len(self.wires)

    def evaluate(self, states: Complex[Array, "dim columns"]) -> Float[Array, "size columns"]:
        """The probabilities in each column's state."""
        for unitary, wires in self.basis:
            states = apply(unitary, states, wires)
        return marginal(jnp.square(jnp.abs(states)), self.wires)

    def process(self, labels: Sequence[Any]) -> Any:
        """PennyLane's measurement of it."""
        if self.observable is not None:
            return pennylane().probs(op=self.observable)
        return pennylane().probs(wires=[labels[wire] for wire in self.wires])


Observable = PauliSums | Matrix | Sparse | Probabilities


@dataclass(frozen=True)
class Measurement:
    """A PennyLane measurement: observables whose expectations are linear in the state, and what follows.

    Attributes:
        observables: What is measured on the state.
        finish: `finish(expectations) -> result`, over an array of all expectations; differentiated by JAX.
        weights: Coefficients of the expectations in the result, where it is a sum.
    """

    observables: tuple[Observable, ...]
    finish: Callable[[Shaped[Array, " size"]], Any]
    weights: tuple[Any, ...] | None = None

    @property
    def size(self) -> int:
        """Number of expectations."""
        return sum(observable.size for observable in self.observables)

    def coefficients(self) -> Float[np.ndarray, " size"]:
        """Constant coefficients of the expectations.

        Raises:
            UsageError: They are traced.
        """
        weights = (1.0,) * self.size if self.weights is None else self.weights
        if any(isinstance(weight, Tracer) for weight in weights):
            raise UsageError(
                "how shots are shared out must not depend on traced coefficients: use allocation='uniform'"
            )
        return np.array([np.real(weight) for weight in weights], float)


def measurement_of(process: Any, wires: Sequence[Any], *, term_by_term: bool = False) -> Measurement:
    r"""Translate a PennyLane measurement.

    A variance is $\langle O^2 \rangle - \langle O \rangle^2$; coefficients of Hamiltonians that are JAX arrays
    stay outside of what is measured, so that JAX differentiates them.

    Args:
        process: `expval`, `var` or `probs` of PennyLane.
        wires: Labels of the register's wires by position.
        term_by_term: Measure each Pauli word for itself, as finite shots do.

    Returns:
        The measurement.

    Raises:
        UsageError: Another kind of measurement.
    """
    library = pennylane()
    with library_numerics():
        if isinstance(process, library.measurements.ProbabilityMP):
            return _probabilities(process, wires)
        if process.mv is not None:
            raise UsageError(f"{process!r} measures a mid-circuit value that is not a single deferred wire")
        if isinstance(process, library.measurements.ExpectationMP):
            return _expectation(process.obs, wires, term_by_term)
        if isinstance(process, library.measurements.VarianceMP):
            return _variance(process.obs, wires, term_by_term)
    raise UsageError(
        f"{type(process).__name__} has no expectation to differentiate: measure expval, var or probs instead"
    )


def _probabilities(process: Any, wires: Sequence[Any]) -> Measurement:
    measured = list(process.wires) or list(wires)
    basis = [] if process.obs is None else process.obs.diagonalizing_gates()
    changes = tuple(
        (np.asarray(pennylane().matrix(gate, wire_order=gate.wires), complex), tuple(map(wires.index, gate.wires)))
        for gate in basis
    )
    return Measurement((Probabilities(tuple(map(wires.index, measured)), changes, process.obs),), lambda values: values)


def _expectation(observable: Any, wires: Sequence[Any], term_by_term: bool) -> Measurement:
    observables, coefficients = _linear(observable, wires, term_by_term)
    if coefficients is None:
        return Measurement(observables, lambda values: values[0])
    weights = tuple(coefficient for coefficient, constant in coefficients if not constant)
    return Measurement(observables, lambda values: _combine(coefficients, values), weights)


def _variance(observable: Any, wires: Sequence[Any], term_by_term: bool) -> Measurement:
    first = _expectation(observable, wires, term_by_term)
    second = _expectation(_square(observable), wires, term_by_term)

    def finish(values: Array) -> Array:
        return second.finish(values[first.size :]) - jnp.square(first.finish(values[: first.size]))

    return Measurement(first.observables + second.observables, finish)


def _combine(coefficients: Sequence[Any], values: Array) -> Array:
    """Weigh expectations by coefficients; a coefficient None is that of the identity's constant 1."""
    total = jnp.zeros((), values.dtype)
    index = 0
    for coefficient, constant in coefficients:
        factor = jnp.real(jnp.asarray(coefficient)).astype(values.dtype)
        if constant:
            total = total + factor
        else:
            total = total + factor * values[index]
            index += 1
    return total


def _square(observable: Any) -> Any:
    """An operator whose expectation is that of the observable's square."""
    library = pennylane()
    if observable.pauli_rep is not None:
        squared = observable.pauli_rep @ observable.pauli_rep
        return squared.operation(wire_order=observable.wires)
    if isinstance(observable, library.Projector):
        return observable
    matrix = observable.matrix()
    return library.Hermitian(matrix @ matrix, wires=observable.wires)


def _linear(
    observable: Any, wires: Sequence[Any], term_by_term: bool
) -> tuple[tuple[Observable, ...], list[tuple[Any, bool]] | None]:
    """Observables and the coefficients that combine them; no coefficients for a single ready-made expectation."""
    library = pennylane()
    terms = _pauli_terms(observable)
    if terms is None:
        if any(isinstance(value, Tracer) for value in observable.data):
            return _by_summands(observable, wires, term_by_term)
        if len(observable.wires) <= _DENSE_WIRES and not isinstance(observable, library.SparseHamiltonian):
            matrix = np.asarray(observable.matrix(), complex)
            return (Matrix(matrix, tuple(map(wires.index, observable.wires))),), None
        sparse = observable.sparse_matrix(wire_order=list(wires)).tocoo()
        return (Sparse(sparse.row, sparse.col, sparse.data),), None
    words = [word_of(pauli, wires) for pauli, _ in terms]
    if not term_by_term and not any(isinstance(coefficient, jax.Array) for _, coefficient in terms):
        weights = np.array([[np.real(coefficient) for _, coefficient in terms]], float).reshape(1, -1)
        return (PauliSums(tuple(words), weights),), None
    coefficients = [(coefficient, not pauli) for pauli, coefficient in terms]
    measured = tuple(word for word, (_, constant) in zip(words, coefficients, strict=True) if not constant)
    return (PauliSums(measured, np.eye(len(measured))),), coefficients


def _pauli_terms(observable: Any) -> list[tuple[Mapping[Any, str], Any]] | None:
    """The observable as a sum of Pauli words with coefficients, None where it is not one."""
    library = pennylane()
    if isinstance(observable, library.Hermitian) and isinstance(observable.data[0], Tracer):
        return _hermitian_terms(observable.data[0], observable.wires)
    if observable.pauli_rep is not None:
        return list(observable.pauli_rep.items())
    summands = _summands(observable)
    parts = [_pauli_terms(operator) for _, operator in summands]
    if not summands or any(part is None for part in parts):
        return None
    return [
        (word, coefficient * c)
        for (coefficient, _), part in zip(summands, parts, strict=True)
        for word, c in part or ()
    ]


def _summands(observable: Any) -> list[tuple[Any, Any]]:
    """The coefficients and operators that an observable is a sum of; none where it is not a sum."""
    library = pennylane()
    if isinstance(observable, library.ops.SProd):
        return [(observable.scalar, observable.base)]
    if isinstance(observable, library.ops.LinearCombination):
        return list(zip(*observable.terms(), strict=True))
    if isinstance(observable, library.ops.Sum):
        return [(1.0, operand) for operand in observable.operands]
    return []


def _by_summands(
    observable: Any, wires: Sequence[Any], term_by_term: bool
) -> tuple[tuple[Observable, ...], list[tuple[Any, bool]]]:
    """A sum that is no sum of Pauli words, each summand measured for itself."""
    summands = _summands(observable)
    if not summands:
        raise UsageError(
            f"{observable} has traced parameters inside of an observable: write it as a sum of constant observables "
            "with traced coefficients"
        )
    observables: tuple[Observable, ...] = ()
    coefficients: list[tuple[Any, bool]] = []
    for coefficient, operator in summands:
        measured, weights = _linear(operator, wires, term_by_term)
        observables += measured
        coefficients += [
            (coefficient * c, constant) for c, constant in (weights if weights is not None else [(1.0, False)])
        ]
    return observables, coefficients


def _hermitian_terms(matrix: Array, wires: Sequence[Any]) -> list[tuple[Mapping[Any, str], Any]]:
    r"""A traced matrix as $\sum_P \mathrm{tr}(P A) 2^{-k} P$, so that its entries stay outside of the circuit."""
    terms = []
    for letters in itertools.product("IXYZ", repeat=len(wires)):
        pauli = {wire: letter for wire, letter in zip(wires, letters, strict=True) if letter != "I"}
        word = word_of(pauli, list(wires))
        index = np.arange(len(matrix))
        terms.append((pauli, jnp.mean(matrix[index, index ^ word.x] * jnp.asarray(word.phases, matrix.dtype)).real))
    return terms
