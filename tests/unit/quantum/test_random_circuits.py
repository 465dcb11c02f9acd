"""Random circuits with shared and preprocessed parameters: the gradient, and exactly how many circuits it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainlab import quantum

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("x64")]
WIRES, PARAMETERS = (4, 5), 3  # registers of either way of simulation

# name: (wires, shifted circuits of each angle)
GATES = {
    "RX": (1, [2]),
    "RZ": (1, [2]),
    "PhaseShift": (1, [2]),
    "U2": (1, [2, 2]),
    "Rot": (1, [2, 2, 2]),
    "CRX": (2, [4]),
    "CRZ": (2, [4]),
    "CRot": (2, [4, 4, 4]),
    "IsingXY": (2, [4]),
    "IsingZZ": (2, [2]),
    "ControlledPhaseShift": (2, [2]),
    "SingleExcitation": (2, [4]),
    "FermionicSWAP": (2, [2]),
    "OrbitalRotation": (4, [8]),
    "DoubleExcitation": (4, [4]),
}
FUNCTIONS = {
    "as it is": lambda w, i, j: w[i],
    "product": lambda w, i, j: w[i] * w[j],
    "square": lambda w, i, j: w[i] ** 2,
    "sine": lambda w, i, j: jnp.sin(w[i]) + 0.3,
    "constant": lambda w, i, j: 0.7,
}


@st.composite
def gates(draw, register):
    name = draw(st.sampled_from(sorted(GATES)))
    width, terms = GATES[name]
    wires = draw(st.permutations(range(register)))[:width]
    index = st.integers(0, PARAMETERS - 1)
    angles = [(draw(st.sampled_from(sorted(FUNCTIONS))), draw(index), draw(index)) for _ in terms]
    wrapper = draw(st.sampled_from(["", "", "adjoint"]))
    return name, wires, angles, wrapper


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.sampled_from(WIRES).flatmap(lambda n: st.tuples(st.just(n), st.lists(gates(n), min_size=2, max_size=7))),
    seed=st.integers(0, 2**16),
)
def test_random_circuit(qml, drawn, seed):
    register, body = drawn

    def circuit(w):
        for wire in range(register):
            qml.RY(0.4 + wire, wires=wire)
        for name, wires, angles, wrapper in body:
            gate = getattr(qml, name)
            gate = qml.adjoint(gate) if wrapper else gate
            gate(*(FUNCTIONS[function](w, i, j) for function, i, j in angles), wires=wires)
            qml.CNOT(wires=[wires[0], (wires[0] + 1) % register])
        return qml.expval(qml.Z(0) @ qml.X(1) + 0.5 * qml.Y(2) @ qml.Z(3))

    w = jnp.asarray(np.random.default_rng(seed).uniform(-2, 2, PARAMETERS))
    gradient = jax.grad(quantum.expectation(circuit))
    want = jax.jit(jax.grad(quantum.expectation(circuit, gradient="backprop")))(w)
    compiled = jax.jit(jax.vmap(gradient))(jnp.stack([w, w + 0.1]))[0]
    for got in (gradient(w), compiled):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    shifted = sum(
        terms
        for name, _, angles, _ in body
        for terms, (function, _, _) in zip(GATES[name][1], angles, strict=True)
        if function != "constant"
    )
    assert quantum.executions(gradient, w) == shifted
