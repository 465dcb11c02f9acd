"""Finite shots: equal keys, unbiased gradients, the variance of theory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import quantum
from chainlab.errors import UsageError


@pytest.fixture(scope="module")
def circuit(qml):
    def circuit(w):
        for wire in range(2):
            qml.Rot(*w[wire], wires=wire)
        qml.CNOT(wires=[0, 1])
        qml.RY(w[0, 0], wires=1)
        return qml.expval(0.5 * qml.Z(0) + 0.8 * qml.X(0) @ qml.X(1) - 0.3 * qml.Z(0) @ qml.Z(1))

    return circuit


W = jnp.array([[0.3, 0.7, -0.2], [1.1, -0.4, 0.6]])


@pytest.mark.slow
def test_equal_keys_give_equal_samples(circuit):
    f = quantum.expectation(circuit, shots=50)
    key = jax.random.key(3)
    value = jax.jit(f)(W, key=key)
    assert jax.jit(jax.value_and_grad(f))(W, key=key)[0] == pytest.approx(float(value), abs=1e-6)
    many = jax.jit(jax.vmap(lambda k: f(W, key=k)))(jnp.stack([key, jax.random.key(4)]))
    assert many[0] == pytest.approx(float(value), abs=1e-6)
    assert many[1] != many[0]
    with pytest.raises(UsageError, match="key="):
        f(W)


def test_words_that_commute_wire_by_wire_share_a_circuit(circuit):
    f = quantum.expectation(circuit, shots=50)
    assert quantum.executions(lambda key: f(W, key=key), jax.random.key(0)) == 2  # {Z0, Z0 Z1} and {X0 X1}
    gradient = jax.grad(lambda w, key: f(w, key=key))
    assert quantum.executions(gradient, W, jax.random.key(0)) == 2 * 2 * 7


@pytest.mark.slow
@pytest.mark.parametrize("allocation", ["uniform", "weighted", "optimal"])
def test_gradients_are_unbiased_with_the_variance_of_theory(circuit, allocation):
    keys, shots = 600, 100
    f = quantum.expectation(circuit, shots=shots, allocation=allocation)
    draws = jax.jit(jax.vmap(jax.grad(lambda w, key: f(w, key=key)), (None, 0)))(
        W, jax.random.split(jax.random.key(5), keys)
    )
    want = jax.jit(jax.grad(quantum.expectation(circuit)))(W)
    noise = quantum.shot_noise(circuit, shots, allocation=allocation)(W)
    z = (draws.mean(0) - want) / np.sqrt(noise.gradient / keys)
    assert np.abs(z).max() < 4
    assert draws.var(0).sum() == pytest.approx(float(noise.gradient.sum()), rel=0.05)


@pytest.mark.slow
def test_optimal_allocation_has_the_least_variance(circuit):
    noise = {a: float(quantum.shot_noise(circuit, 100, allocation=a)(W).value) for a in ("uniform", "optimal")}
    assert noise["optimal"] < 0.98 * noise["uniform"]


@pytest.mark.slow
def test_probabilities_and_matrices_are_sampled(qml):
    matrix = np.array([[1, 1j], [-1j, 0.5]])

    def circuit(angle):
        qml.RX(angle, wires=0)
        qml.CNOT(wires=[0, 1])
        return qml.probs(wires=[1, 0]), qml.expval(qml.Hermitian(matrix, wires=0)), qml.var(qml.Y(1))

    exact = quantum.expectation(circuit)(0.7)
    got = jax.jit(quantum.expectation(circuit, shots=100_000))(0.7, key=jax.random.key(0))
    for g, w in zip(got, exact, strict=True):
        np.testing.assert_allclose(g, w, atol=0.02)
