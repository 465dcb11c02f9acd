"""Expectation values of circuits as pure differentiable functions."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from chainlab.quantum.circuit import Circuit, compile_tape, record
from chainlab.quantum.executions import mark
from chainlab.quantum.observables import Measurement, measurement_of
from chainlab.quantum.shift import Leaves, shifted
from chainlab.quantum.simulator import Shift, complex_dtype, simulate
from chainlab.typing import PRNGKey

Gradient = Literal["parameter-shift", "backprop", "adjoint", "hadamard", "spsa", "finite-diff"]
_MEMORY = 2**31  # bytes of shifted states to hold at once


def expectation(circuit: Any, gradient: str = "parameter-shift", *, chunk: int | None = None) -> Callable[..., PyTree]:
    def call(*args: Any, key: PRNGKey | None = None, **kwargs: Any) -> PyTree:
        recording = record(circuit, args, kwargs)
        results = []
        for tape in recording.tapes:
            compiled, values = compile_tape(tape, recording.wires)
            measurements = [measurement_of(process, compiled.wires) for process in compiled.measurements]
            function = _function(compiled, measurements, gradient, chunk, values)

            def finish(expectations: Array, measurements: Sequence[Measurement] = measurements) -> Any:
                edges = np.cumsum([0, *(m.size for m in measurements)])
                parts = [
                    m.finish(expectations[a:b])
                    for m, (a, b) in zip(measurements, pairwise(edges.tolist()), strict=True)
                ]
                return parts[0] if len(parts) == 1 else tuple(parts)

            def whole(*values: Array, function: Any = function, finish: Any = finish) -> Any:
                return finish(function(key, *values))

            axes = [0 if leaf.batched else None for leaf in compiled.leaves]
            results.append((jax.vmap(whole, in_axes=axes) if 0 in axes else whole)(*values))
        return recording.combine(results)

    return call


def _function(
    circuit: Circuit, measurements: Sequence[Measurement], gradient: str, chunk: int | None, values: Any
) -> Any:
    def evaluate(leaves: Leaves, key: Any, shifts: Sequence[Shift]) -> tuple[Array, Array]:
        states, columns = simulate(circuit, leaves, shifts)
        found = jnp.concatenate([o.evaluate(states) for m in measurements for o in m.observables])
        copies = found[:, 1:].T[np.argsort(columns)] if shifts else jnp.zeros((0, len(found)), found.dtype)
        return mark(found[:, 0], 1), mark(copies, len(shifts))

    if gradient == "backprop":
        return lambda key, *leaves: evaluate(leaves, key, ())[0]
    rules = [leaf.rule for leaf in circuit.leaves]
    size = 2 ** len(circuit.wires) * complex_dtype(values).itemsize
    return shifted(evaluate, circuit.leaves, rules, chunk or max(1, _MEMORY // (4 * size)))
