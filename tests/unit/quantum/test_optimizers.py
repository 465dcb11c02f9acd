"""Optimisers that quantum users expect."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab import quantum
from chainlab.errors import UsageError
from chainlab.quantum.library import library_numerics


@pytest.fixture(scope="module")
def circuit(qml):
    def circuit(w):
        qml.RX(w[0], wires=0)
        qml.RY(w[1] * w[0], wires=1)
        qml.CNOT(wires=[0, 1])
        qml.RZ(w[2], wires=0)
        qml.RY(w[3], wires=1)
        qml.CNOT(wires=[0, 1])
        return qml.expval(qml.Z(0) @ qml.Z(1) + 0.5 * qml.X(0))

    return circuit


W = np.array([0.4, 0.9, -0.3, 1.2])


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("approximation", ["block-diagonal", "diagonal", "full"])
def test_metric_is_that_of_pennylane(qml, circuit, approximation):
    w = jnp.asarray(W)
    got = jax.jit(quantum.metric_tensor(circuit, approximation))(w)
    names = {"block-diagonal": "block-diag", "diagonal": "diag", "full": None}

    def angles(a):
        qml.RX(a[0], wires=0)
        qml.RY(a[1], wires=1)
        qml.CNOT(wires=[0, 1])
        qml.RZ(a[2], wires=0)
        qml.RY(a[3], wires=1)
        qml.CNOT(wires=[0, 1])
        return qml.expval(qml.Z(0))

    def preprocess(v):
        return jnp.stack([v[0], v[1] * v[0], v[2], v[3]])

    with library_numerics():
        node = qml.QNode(angles, qml.device("default.qubit", wires=3))
        tensor = qml.metric_tensor(node, approx=names[approximation])(qml.numpy.array(np.asarray(preprocess(w))))
    slopes = jax.jacobian(preprocess)(w)
    np.testing.assert_allclose(got, slopes.T @ jnp.asarray(np.asarray(tensor)) @ slopes, atol=1e-10)


@pytest.mark.slow
def test_natural_gradient_solves_with_the_metric(circuit):
    w = jnp.asarray(W, jnp.float32)
    gradient = jax.grad(quantum.expectation(circuit))(w)
    optimizer = quantum.natural_gradient(circuit, 0.1, regularization=0.01)
    updates, _ = optimizer.update(gradient, optimizer.init(w), w)
    want = -0.1 * jnp.linalg.solve(quantum.metric_tensor(circuit)(w) + 0.01 * jnp.eye(4), gradient)
    np.testing.assert_allclose(updates, want, rtol=1e-4, atol=1e-6)
    with pytest.raises(UsageError, match="needs the parameters"):
        optimizer.update(gradient, optimizer.init(w))


def test_rotosolve_finds_the_minimum_of_each_angle(qml):
    def circuit(w):
        qml.RX(w[0], wires=0)
        qml.RY(w[1], wires=0)
        return qml.expval(qml.Z(0))

    params, value = jax.jit(quantum.rotosolve(quantum.expectation(circuit)))(jnp.array([0.3, 0.4]))
    assert value == pytest.approx(-1, abs=1e-5)
    assert quantum.expectation(circuit)(params) == pytest.approx(-1, abs=1e-5)


def test_rotosolve_with_several_frequencies(qml):
    def circuit(w):
        qml.RX(w[0], wires=0)
        qml.RY(w[0], wires=0)
        qml.RX(0.3 + w[0], wires=0)
        return qml.expval(0.6 * qml.Z(0) + 0.8 * qml.X(0))

    f = quantum.expectation(circuit)
    _, value = jax.jit(quantum.rotosolve(f, frequencies=3))(jnp.array([0.3]))
    grid = jax.vmap(lambda a: f(a[None]))(jnp.linspace(0, 2 * jnp.pi, 2001))
    assert value == pytest.approx(float(grid.min()), abs=1e-4)


def test_rotoselect_chooses_the_axis(qml):
    def circuit(angles, axes):
        quantum.rotation(angles[0], axes[0], 0)
        return qml.expval(qml.X(0))  # a rotation about X or Z leaves |0> without any X

    _, axes, value = jax.jit(quantum.rotoselect(quantum.expectation(circuit)))(jnp.array([0.3]), jnp.array([0]))
    assert axes[0] == 1
    assert value == pytest.approx(-1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_spsa_descends(circuit):
    f = quantum.expectation(circuit, gradient="spsa")
    optimizer = quantum.spsa(0.2, 200)

    def step(carry, key):
        w, state = carry
        updates, state = optimizer.update(jax.grad(lambda w: f(w, key=key))(w), state, w)
        return (optax.apply_updates(w, updates), state), None

    w = jnp.asarray(W, jnp.float32)
    (final, _), _ = jax.jit(lambda c, k: jax.lax.scan(step, c, k))(
        (w, optimizer.init(w)), jax.random.split(jax.random.key(0), 200)
    )
    exact = quantum.expectation(circuit)
    assert exact(final) < exact(w) - 0.5
