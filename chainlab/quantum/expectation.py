"""Expectation values of circuits as pure differentiable functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from chainlab.errors import UsageError
from chainlab.quantum.circuit import Circuit, compile_tape, record
from chainlab.quantum.device import on_device, open_device
from chainlab.quantum.hadamard import hadamard
from chainlab.quantum.matrices import complex_dtype
from chainlab.quantum.observables import Measurement, measurement_of
from chainlab.quantum.programs import Method, Sampling, differentiated, simulated
from chainlab.quantum.shots import check_allocation
from chainlab.typing import PRNGKey

Gradient = Literal["parameter-shift", "backprop", "adjoint", "hadamard", "spsa", "finite-diff"]

_MEMORY = 2**31  # bytes of shifted states that are held at once
_COPIES = 4  # states that XLA keeps for each while a gate is applied
_SIMULATED = ("backprop", "adjoint", "hadamard")


@dataclass(frozen=True)
class _Options:
    gradient: str
    shots: int | None
    chunk: int | None
    device: Any
    device_options: Mapping[str, Any]
    allocation: str
    step: float | None
    directions: int
    retries: int


def expectation(
    circuit: Any,
    gradient: str = "parameter-shift",
    *,
    shots: int | None = None,
    chunk: int | None = None,
    device: Any = None,
    device_options: Mapping[str, Any] | None = None,
    allocation: str = "uniform",
    step: float | None = None,
    directions: int = 1,
    retries: int = 2,
) -> Callable[..., PyTree]:
    r"""A circuit's expectations $\langle O \rangle_\theta$ as a pure function, differentiable as hardware allows.

    The function works under `grad`, `jit`, `vmap` and `scan`, and inside any model. `parameter-shift` evaluates,
    for every gate angle that a derivative needs, the same circuit at shifted angles,
    $\partial_k f = \sum_i c_{ki} f(\theta_k + s_{ki})$; what is computed before an angle reaches its gate is
    left to JAX. All shifted circuits are one compiled call, and derivatives of any order are shifts of shifts.

    Args:
        circuit: A QNode, a quantum function that returns PennyLane's `expval`, `var` or `probs` (alone or in a
            tuple, list or dict), or a tape.
        gradient: `parameter-shift`; `backprop` through the simulation; `adjoint`, the same in the memory of two
            states; `hadamard` tests; `spsa`, two circuits along random signs; `finite-diff`, central
            differences in each angle.
        shots: Shots of each executed circuit, None for exact values (or the QNode's own shots).
        chunk: Most shifted circuits to simulate at once; by default what fits in 2 GiB.
        device: Name of a PennyLane device, or a device; None simulates in JAX.
        device_options: Arguments of a device that is named.
        allocation: How shots are shared out among the settings of a Hamiltonian: `uniform`, `weighted` by
            coefficients, or `optimal`.
        step: Step of `spsa` and `finite-diff`; by default the cube root of the machine epsilon, 0.1 with shots.
        directions: Random directions of `spsa`.
        retries: How often a failing device is sent a batch again.

    Returns:
        `f(*args, key=None)`, with the circuit's arguments and the structure of its result; `key` is needed with
        shots and for `spsa`, and equal keys give equal samples.

    Raises:
        UsageError: An option is unknown or does not go with another.
        MissingDependencyError: PennyLane is not installed.

    Example:
        >>> import jax, pennylane as qml
        >>> def circuit(angle):
        ...     qml.RX(angle, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> f = expectation(circuit)
        >>> round(float(jax.grad(f)(0.5)), 6)
        -0.479426

    References:
        Mitarai et al., Quantum circuit learning, arXiv:1803.00745, section III;
        Schuld et al., Evaluating analytic gradients on quantum hardware, arXiv:1811.11184;
        Wierichs et al., General parameter-shift rules for quantum gradients, arXiv:2107.12390.
    """
    options = _Options(gradient, shots, chunk, device, device_options or {}, allocation, step, directions, retries)
    _check(options)

    def function(*args: Any, key: PRNGKey | None = None, **kwargs: Any) -> PyTree:
        recording = record(circuit, args, kwargs)
        results = []
        for index, tape in enumerate(recording.tapes):
            own_key = key if key is None or len(recording.tapes) == 1 else jax.random.fold_in(key, index)
            results.append(_evaluate(tape, recording.wires, options, own_key))
        return recording.combine(results)

    return function


def _check(options: _Options) -> None:
    if options.gradient not in get_args(Gradient):
        raise UsageError(f"gradient must be one of {', '.join(get_args(Gradient))}, got {options.gradient!r}")
    for name in ("shots", "chunk", "directions"):
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"{name} must be a whole number from 1 on, got {value!r}")
    if options.retries < 0:
        raise UsageError(f"retries must not be negative, got {options.retries}")
    if options.step is not None and not options.step > 0:
        raise UsageError(f"step must be positive, got {options.step}")
    check_allocation(options.allocation)
    if options.gradient in _SIMULATED:
        for name in ("shots", "device"):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"gradient={options.gradient!r} is computed from exact states in JAX and does not go with {name}=: "
                    "use 'parameter-shift', 'finite-diff' or 'spsa'"
                )


def _evaluate(tape: Any, wires: tuple[Any, ...] | None, options: _Options, key: PRNGKey | None) -> Any:
    """The results of one tape."""
    compiled, values = compile_tape(
        tape, wires, channels=options.device is not None, one_angle=options.gradient == "hadamard"
    )
    shots = options.shots or (None if options.gradient in _SIMULATED else compiled.shots)
    term_by_term = shots is not None and options.device is None
    measurements = [measurement_of(m, compiled.wires, term_by_term=term_by_term) for m in compiled.measurements]
    function = _function(compiled, measurements, options, shots, values)
    edges = np.cumsum([0, *(m.size for m in measurements)]).tolist()

    def results(own_key: PRNGKey | None, *leaves: Array) -> Any:
        found = function(own_key, *leaves)
        parts = [m.finish(found[a:b]) for m, (a, b) in zip(measurements, pairwise(edges), strict=True)]
        return parts[0] if len(parts) == 1 else tuple(parts)

    axes = [0 if leaf.batched else None for leaf in compiled.leaves]
    if 0 not in axes:
        return results(key, *values)
    keys, key_axis = key, None
    if key is not None:
        keys, key_axis = jax.random.split(key, values[axes.index(0)].shape[0]), 0
    return jax.vmap(results, in_axes=(key_axis, *axes))(keys, *values)


def _function(
    circuit: Circuit, measurements: Sequence[Measurement], options: _Options, shots: int | None, values: Sequence[Array]
) -> Callable[..., Array]:
    """`f(key, *leaves) -> expectations` with the derivative that the options ask for."""
    observables = tuple(observable for measurement in measurements for observable in measurement.observables)
    if options.gradient == "hadamard":
        return hadamard(circuit, observables)
    dtype = complex_dtype(values)
    held = _MEMORY // (_COPIES * dtype.itemsize * 2 ** len(circuit.wires))
    method = Method(
        options.gradient,
        options.chunk or max(1, held),
        options.step or (0.1 if shots else float(jnp.finfo(dtype).eps) ** (1 / 3)),
        options.directions,
    )
    if options.device is not None:
        device = open_device(options.device, options.device_options, circuit.wires)
        return differentiated(circuit, on_device(circuit, observables, device, shots, options.retries), method)
    weights = None
    if shots is not None and options.allocation != "uniform":
        weights = np.concatenate([measurement.coefficients() for measurement in measurements])
    return simulated(circuit, observables, method, Sampling(shots, options.allocation, weights))
