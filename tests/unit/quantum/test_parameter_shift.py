"""Parameter-shift against backprop, closed forms and exact circuit counts; everything in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import quantum
from chainlab.errors import UsageError

pytestmark = pytest.mark.usefixtures("x64")


def flat(f):
    return lambda *args: jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(f(*args))])


def assert_same_derivatives(circuit, args, *, argnums, tolerance=1e-12):
    """Jacobians agree with backprop, eagerly, compiled and vectorised."""
    shift, backprop = (flat(quantum.expectation(circuit, gradient=rule)) for rule in ("parameter-shift", "backprop"))
    want = jax.jit(jax.jacrev(backprop, argnums))(*args)
    jacobian = jax.jacrev(shift, argnums)
    args = jax.tree.map(jnp.asarray, args)
    batch = jax.tree.map(lambda a: jnp.stack([a, a + 0.3]), args)
    for got in (jacobian(*args), jax.jit(jacobian)(*args), jax.tree.map(lambda j: j[0], jax.vmap(jacobian)(*batch))):
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(g, w, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def mixed(qml):
    """Shared, multiplied and squared parameters in gates of several rules, and four kinds of output."""

    def circuit(x, w):
        qml.AngleEmbedding(x, wires=range(3))
        qml.CRX(w[0] * w[1], wires=[0, 1])
        qml.Rot(w[0] ** 2, w[1], 0.3, wires=2)
        qml.SingleExcitation(w[2] + x[0], wires=[1, 2])
        qml.adjoint(qml.U3(w[0], w[2], x[1], wires=0))
        qml.ctrl(qml.RX(w[1], wires=2), control=0)
        qml.CRot(w[2], 0.5, w[0], wires=[2, 0])
        qml.GlobalPhase(w[1])
        return {
            "energy": qml.expval(x[2] * qml.Z(0) @ qml.X(1) + 0.5 * qml.Y(2)),
            "chance": qml.probs(wires=[2, 0]),
            "spread": qml.var(qml.X(1) + 0.3 * qml.Z(2)),
            "matrix": qml.expval(qml.Hermitian(np.array([[1, 1j], [-1j, 0.5]]), wires=1)),
        }

    return circuit


POINT = (np.array([0.3, -0.8, 1.1]), np.array([0.7, 0.4, -1.3]))


def test_rx_is_minus_sine(qml):
    def circuit(angle):
        qml.RX(angle, wires=0)
        return qml.expval(qml.Z(0))

    f = quantum.expectation(circuit)
    derivative = f
    for order, want in enumerate([np.cos(0.5), -np.sin(0.5), -np.cos(0.5), np.sin(0.5)]):
        assert derivative(0.5) == pytest.approx(want, abs=1e-15), order
        derivative = jax.grad(derivative)
    assert jax.hessian(f)(0.5) == pytest.approx(-np.cos(0.5), abs=1e-15)


@pytest.mark.slow
def test_shared_and_preprocessed_parameters_agree_with_backprop(mixed):
    assert_same_derivatives(mixed, POINT, argnums=(0, 1))


@pytest.mark.slow
def test_second_derivatives_agree_with_backprop(mixed):
    shift, backprop = (flat(quantum.expectation(mixed, gradient=rule)) for rule in ("parameter-shift", "backprop"))
    got = jax.jit(jax.hessian(lambda w: shift(POINT[0], w)[::3]))(POINT[1])
    want = jax.jit(jax.hessian(lambda w: backprop(POINT[0], w)[::3]))(POINT[1])
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_results_keep_the_structure_of_the_circuit(qml, mixed):
    got = quantum.expectation(mixed)(*map(jnp.asarray, POINT))
    want = qml.QNode(mixed, qml.device("default.qubit"))(*POINT)
    assert sorted(got) == sorted(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=1e-13)


@pytest.mark.slow
def test_qnodes_keep_their_transforms_wires_and_structure(qml):
    device = qml.device("default.qubit", wires=["b", "a"])

    @qml.transforms.merge_rotations
    @qml.qnode(device)
    def one(w, *, shift=0.0):
        qml.RX(w[0], wires="a")
        qml.RX(w[1], wires="a")
        qml.CRY(w[0] + shift, wires=["a", "b"])
        return qml.expval(qml.Z("b"))

    @qml.qnode(device)
    def two(w):
        qml.RX(w[0], wires="a")
        qml.CRY(w[1], wires=["a", "b"])
        return {"chance": qml.probs(), "energy": qml.expval(qml.Z("b"))}

    w = jnp.array([0.3, 0.8])
    f, backprop = quantum.expectation(one), quantum.expectation(one, gradient="backprop")
    assert f(w, shift=0.2) == pytest.approx(float(one(np.asarray(w), shift=0.2)), abs=1e-14)
    np.testing.assert_allclose(jax.grad(f)(w), jax.grad(backprop)(w), atol=1e-14)
    assert quantum.executions(jax.grad(f), w) == 2 + 4  # the two rotations are one
    got, want = quantum.expectation(two)(w), two(np.asarray(w))
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=1e-14)


@pytest.mark.slow
def test_a_transform_that_splits_the_circuit(qml):
    @qml.transforms.split_non_commuting
    @qml.qnode(qml.device("default.qubit"))
    def circuit(w):
        qml.RX(w[0], wires=0)
        qml.CRY(w[1], wires=[0, 1])
        return qml.expval(qml.Z(0)), qml.expval(qml.X(0) @ qml.Z(1))

    w = jnp.array([0.3, 0.8])
    f = flat(quantum.expectation(circuit))
    np.testing.assert_allclose(f(w), np.array(circuit(np.asarray(w))), atol=1e-14)
    backprop = flat(quantum.expectation(circuit, gradient="backprop"))
    np.testing.assert_allclose(jax.jacrev(f)(w), jax.jacrev(backprop)(w), atol=1e-14)
    assert quantum.executions(jax.jacrev(f), w) == 2 * (2 + 4)


def test_only_what_is_differentiated_is_shifted(qml):
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=range(2))
        qml.CRY(w[0], wires=[0, 1])
        qml.Rot(w[1], w[1], 0.1, wires=1)
        qml.GlobalPhase(w[0])
        return qml.expval(qml.Z(1))

    f = quantum.expectation(circuit)
    x, w = jnp.ones(2), jnp.ones(2)
    count = quantum.executions
    assert count(f, x, w) == 1
    assert count(jax.grad(f, 0), x, w) == 4  # two embedding angles
    assert count(jax.grad(f, 1), x, w) == 4 + 2 + 2  # the four-term rule, and one angle in two places
    assert count(jax.value_and_grad(f, (0, 1)), x, w) == 1 + 4 + 8
    assert count(jax.jit(jax.vmap(jax.grad(f, 1), (0, None))), jnp.ones((5, 2)), w) == 5 * 8
    assert count(lambda w: jax.lax.scan(lambda c, _: (c - jax.grad(f, 1)(x, c), None), w, None, 3)[0], w) == 3 * 8
    assert count(jax.hessian(lambda w: f(x, w)), w) == 8 * 8


@pytest.mark.slow
def test_counts_are_those_of_pennylane(qml):
    """The tapes that PennyLane's own parameter-shift makes of the same circuit."""

    def circuit(x, w):
        qml.AngleEmbedding(x, wires=range(3))
        qml.CRX(w[0] * w[1], wires=[0, 1])
        qml.Rot(w[0], w[1], w[2], wires=2)
        qml.SingleExcitation(w[2], wires=[1, 2])
        qml.DoubleExcitation(w[2], wires=[1, 2, 0, 3])
        qml.OrbitalRotation(w[1], wires=[0, 1, 2, 3])
        return qml.expval(qml.Z(0))

    tape = qml.tape.make_qscript(circuit)(*(qml.numpy.array(np.asarray(a)) for a in POINT))
    tapes, _ = qml.gradients.param_shift(tape)
    assert quantum.executions(jax.grad(quantum.expectation(circuit), (0, 1)), *POINT) == len(tapes)


@pytest.mark.slow
def test_observables_that_are_not_pauli_words(qml):
    matrix = np.array([[1, 2j], [-2j, 3]])

    def circuit(w):
        qml.RX(w[0], wires=0)
        qml.CRY(w[1], wires=[0, 1])
        mixed = qml.sum(qml.X(0) @ qml.Hermitian(matrix, wires=1), w[1] * qml.Z(0), w[0] * qml.Projector([1], wires=1))
        return (
            qml.expval(mixed),
            qml.expval(qml.Projector([0, 1], wires=[0, 1])),
            qml.var(qml.Hermitian(matrix, wires=1)),
        )

    assert_same_derivatives(circuit, (POINT[1][:2],), argnums=0)
    want = qml.QNode(circuit, qml.device("default.qubit"))(POINT[1][:2])
    np.testing.assert_allclose(quantum.expectation(circuit)(jnp.asarray(POINT[1][:2])), want, atol=1e-13)


def test_gates_without_a_rule_are_refused_by_name(qml):
    def circuit(angle):
        matrix = jax.scipy.linalg.expm(1j * angle * jnp.array([[0, 1], [1, 0]]))
        qml.QubitUnitary(matrix, wires=0)
        return qml.expval(qml.Z(0))

    f = quantum.expectation(circuit)
    assert f(0.3) == pytest.approx(np.cos(0.6))  # evaluating it is no problem
    with pytest.raises(UsageError, match=r"QubitUnitary has no shift rule.*backprop"):
        jax.grad(f)(0.3)
    assert jax.grad(quantum.expectation(circuit, gradient="backprop"))(0.3) == pytest.approx(-2 * np.sin(0.6))


@pytest.mark.slow
def test_chunks_give_the_same_gradient(mixed):
    whole, chunked = (flat(quantum.expectation(mixed, chunk=chunk)) for chunk in (None, 3))
    got, want = (jax.jit(jax.jacrev(f, 1))(*POINT) for f in (chunked, whole))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.slow
def test_broadcast_parameters_are_a_batch(qml):
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=range(2))
        qml.CRX(w, wires=[0, 1])
        return qml.expval(qml.Z(1)), qml.probs(wires=0)

    f = quantum.expectation(circuit)
    x = jnp.arange(6.0).reshape(3, 2)
    got, want = f(x, 0.4), jax.vmap(lambda row: f(row, 0.4))(x)
    np.testing.assert_allclose(got[0], want[0], atol=1e-14)
    np.testing.assert_allclose(got[1], want[1], atol=1e-14)
    jacobian = jax.jacrev(lambda w: f(x, w)[0])(0.4)
    np.testing.assert_allclose(
        jacobian, jax.vmap(jax.grad(lambda row, w: f(row, w)[0], 1), (0, None))(x, 0.4), atol=1e-14
    )
