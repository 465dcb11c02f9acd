"""Small registers are simulated by moments, larger ones gate by gate: the states are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab.quantum import moments
from chainlab.quantum.circuit import compile_tape, record
from chainlab.quantum.matrices import Shift
from chainlab.quantum.simulator import simulate

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["from zero", "prepared"])
def circuit(qml, request):
    """Gates of one, two and three wires in any order, constants of every kind, and wires that a moment leaves alone."""

    def function(w):
        if request.param:
            qml.StatePrep(np.array([0.6, 0.0, 0.8j, 0.0]), wires=[1, 3])
        qml.Hadamard(2)
        qml.RX(0.9, wires=3)
        qml.RX(w[0], wires=0)
        qml.IsingXY(w[1], wires=[3, 1])
        qml.CNOT(wires=[0, 2])
        qml.CRX(w[2], wires=[2, 0])
        qml.S(1)
        qml.CZ(wires=[3, 1])
        qml.RX(w[0] * w[1], wires=3)
        qml.Rot(w[0], 0.4, w[2], wires=2)
        qml.Toffoli(wires=[3, 0, 1])
        qml.PauliRot(w[1], "XYZ", wires=[3, 0, 1])
        qml.Hadamard(0)
        qml.SWAP(wires=[0, 1])
        return qml.expval(qml.Z(0))

    return function


def test_moments_are_the_gates_one_by_one(circuit, monkeypatch):
    def states(w, small):
        (tape,) = record(circuit, (w,), {}).tapes
        compiled, leaves = compile_tape(tape)
        assert moments.in_moments(compiled) is small
        shifts = [Shift(leaf, 1.0, sign * (0.3 + leaf)) for leaf in range(len(leaves)) for sign in (1, -1)]
        found, columns = simulate(compiled, leaves, [*shifts, Shift(0, -2.0, 0.1)])
        assert sorted(columns) == list(range(len(shifts) + 1))
        return found[:, np.array([0, *(1 + np.argsort(columns))])]

    w = jnp.array([0.7, -0.4, 1.3])
    got = jax.jit(lambda w: states(w, True))(w)
    monkeypatch.setattr(moments, "_WIRES", 0)
    want = jax.jit(lambda w: states(w, False))(w)
    assert got.shape == (16, 1 + 2 * 7 + 1)
    assert np.abs(np.diff(want, axis=1)).max(axis=0).min() > 1e-3  # no two copies are alike
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(got, axis=0), 1, atol=1e-14)
