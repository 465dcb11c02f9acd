"""Compiled evaluations of circuits, remembered by the circuit's structure.

Every call of an expectation records its circuit afresh. Circuits that differ in their angles alone share one
jitted function, so that calls outside of `jit` do not compile again.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from chainlab.quantum.adjoint import adjoint
from chainlab.quantum.backends import exact, sampled
from chainlab.quantum.circuit import Circuit
from chainlab.quantum.gates import Kind
from chainlab.quantum.observables import Observable
from chainlab.quantum.shift import Evaluate, finite_difference, shifted
from chainlab.quantum.stochastic import simultaneous_perturbation

_REMEMBERED = 128


@dataclass(frozen=True)
class Method:
    """How a derivative is obtained.

    Attributes:
        gradient: Its name.
        chunk: Most shifted copies to evaluate at once.
        step: Step of differences.
        directions: Directions of simultaneous perturbation.
    """

    gradient: str
    chunk: int
    step: float
    directions: int


@dataclass(frozen=True)
class Sampling:
    """How expectations are sampled, if they are.

    Attributes:
        shots: Mean number of shots a setting; None for exact values.
        allocation: How they are shared out.
        weights: Coefficients of the expectations, where the allocation asks for them.
    """

    shots: int | None
    allocation: str
    weights: np.ndarray | None


def differentiated(circuit: Circuit, evaluate: Evaluate, method: Method) -> Callable[..., Array]:
    """Give an evaluation the derivative that a method names.

    Args:
        circuit: The circuit.
        evaluate: Its evaluation.
        method: The method, other than `adjoint` and `hadamard`.

    Returns:
        `f(key, *leaves) -> expectations`.
    """
    if method.gradient == "backprop":
        return lambda key, *leaves: evaluate(leaves, key, ())[0]
    if method.gradient == "spsa":
        return simultaneous_perturbation(evaluate, method.step, method.directions)
    rules = [leaf.rule for leaf in circuit.leaves]
    if method.gradient == "finite-diff":
        rules = [finite_difference(method.step) if leaf.scalar else None for leaf in circuit.leaves]
    return shifted(evaluate, circuit.leaves, rules, method.chunk)


def simulated(
    circuit: Circuit, observables: Sequence[Observable], method: Method, sampling: Sampling
) -> Callable[..., Array]:
    """A circuit simulated in JAX, jitted.

    Args:
        circuit: The circuit.
        observables: What is measured.
        method: How its derivative is obtained.
        sampling: Whether and how it is sampled.

    Returns:
        `f(key, *leaves) -> expectations`.
    """
    bare = replace(circuit, gates=tuple(replace(gate, operator=None) for gate in circuit.gates), measurements=())
    if circuit.preparation is not None and any(isinstance(slot, int) for slot in circuit.preparation[1]):
        return _build(bare, tuple(observables), method, sampling)  # its operator holds tracers: not to be kept
    return _remembered(_Program(bare, tuple(observables), method, sampling))


@dataclass(frozen=True, eq=False)
class _Program:
    circuit: Circuit
    observables: tuple[Observable, ...]
    method: Method
    sampling: Sampling
    signature: Hashable = field(init=False)

    def __post_init__(self) -> None:
        parts = (self.circuit, self.observables, self.method, self.sampling)
        object.__setattr__(self, "signature", _signature(parts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program) and self.signature == other.signature

    def __hash__(self) -> int:
        return hash(self.signature)


@functools.lru_cache(_REMEMBERED)
def _remembered(program: _Program) -> Callable[..., Array]:
    return jax.jit(_build(program.circuit, program.observables, program.method, program.sampling))


def _build(
    circuit: Circuit, observables: tuple[Observable, ...], method: Method, sampling: Sampling
) -> Callable[..., Array]:
    if method.gradient == "adjoint":
        return adjoint(circuit, observables)
    if sampling.shots is None:
        return differentiated(circuit, exact(circuit, observables), method)
    evaluate = sampled(circuit, observables, sampling.shots, sampling.allocation, sampling.weights)
    return differentiated(circuit, evaluate, method)


def _signature(value: Any) -> Hashable:
    """What makes two programs one: structure and constants, by value; kinds of gates, by identity."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, tuple | list):
        return tuple(_signature(item) for item in value)
    if is_dataclass(value) and not isinstance(value, Kind | type):
        return (type(value), *(_signature(getattr(value, own.name)) for own in fields(value)))
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
