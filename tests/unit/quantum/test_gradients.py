"""The other ways to a gradient: adjoint, Hadamard tests, finite differences, simultaneous perturbation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import quantum
from chainlab.errors import UsageError

pytestmark = pytest.mark.usefixtures("x64")
POINT = (np.array([0.3, -0.8]), np.array([0.7, 0.4, -1.3]))


@pytest.fixture(scope="module")
def circuit(qml):
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=range(2))
        qml.CRX(w[0] * w[1], wires=[0, 2])
        qml.SingleExcitation(w[2], wires=[1, 2])
        qml.Rot(w[0], 0.2, w[1], wires=0)
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.probs(wires=[2, 0])

    return circuit


def jacobian(circuit, key=None, **options):
    f = quantum.expectation(circuit, **options)
    return jax.jit(jax.jacrev(lambda *a: jnp.concatenate([jnp.ravel(v) for v in f(*a, key=key)]), (0, 1)))(*POINT)


@pytest.fixture(scope="module")
def exact(circuit):
    with jax.enable_x64(True):
        return jacobian(circuit, gradient="backprop")


@pytest.mark.slow
@pytest.mark.parametrize(("gradient", "tolerance"), [("adjoint", 1e-13), ("hadamard", 1e-13), ("finite-diff", 1e-9)])
def test_exact_gradients(circuit, exact, gradient, tolerance):
    for got, want in zip(jacobian(circuit, gradient=gradient), exact, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_simultaneous_perturbation_is_unbiased_and_costs_two_circuits(circuit, exact):
    f = quantum.expectation(circuit, gradient="spsa", directions=3)
    estimate = jax.jacrev(lambda w, key: f(POINT[0], w, key=key)[0])
    assert quantum.executions(estimate, POINT[1], jax.random.key(0)) == 2 * 3
    draws = jax.jit(jax.vmap(estimate, (None, 0)))(POINT[1], jax.random.split(jax.random.key(1), 2000))
    error = draws.mean(0) - exact[1][0]
    assert np.all(np.abs(error) < 4 * draws.std(0) / np.sqrt(2000) + 1e-6)
    assert draws.std(0).min() > 1e-3  # it is an estimate
    with pytest.raises(UsageError, match="key"):
        jax.grad(lambda w: f(POINT[0], w)[0])(POINT[1])


@pytest.mark.parametrize(
    "options",
    [
        {"gradient": "parameter_shift"},
        {"gradient": "backprop", "shots": 10},
        {"gradient": "adjoint", "device": "lightning.qubit"},
        {"shots": 0},
        {"allocation": "even"},
        {"step": -1.0},
    ],
)
def test_options_that_make_no_sense_are_refused(circuit, options):
    with pytest.raises(UsageError):
        quantum.expectation(circuit, **options)


def test_wrong_circuits_are_refused(qml):
    def returns_nothing(x):
        qml.RX(x, wires=0)

    def measures_samples(x):
        qml.RX(x, wires=0)
        return qml.sample(wires=0)

    def noisy(x):
        qml.RX(x, wires=0)
        qml.DepolarizingChannel(0.1, wires=0)
        return qml.expval(qml.Z(0))

    for bad, message in [(returns_nothing, "must return"), (measures_samples, "expval"), (noisy, "default.mixed")]:
        with pytest.raises(UsageError, match=message):
            quantum.expectation(bad)(0.1)
