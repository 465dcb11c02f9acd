"""Problems with a known answer, kernels, classifiers, plateaus."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import quantum
from chainlab.errors import UsageError

GRAPH = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (3, 4)]  # triangles, and nodes of unlike degree


def test_maximum_cut_is_its_closed_form(qml):
    f = jax.jit(quantum.expectation(quantum.maximum_cut(GRAPH)))
    for gamma, beta in [(0.3, 0.7), (1.1, -0.4), (2.0, 0.2)]:
        want = quantum.maximum_cut_closed_form(GRAPH, gamma, beta)
        assert f(jnp.array([gamma]), jnp.array([beta])) == pytest.approx(want, abs=1e-5)
    with pytest.raises(UsageError, match="simple"):
        quantum.maximum_cut_closed_form([(0, 0)], 0.1, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["verify", "check"])
def test_hydrogen_to_chemical_accuracy(qml, verb, tmp_path):
    # In a process of its own: JAX keeps the constants of a double excitation in the precision of their first use.
    command = [sys.executable, "-m", "chainlab", verb, "quantum/hydrogen"]
    root = str(Path(__file__).parents[3])
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_twins_have_the_size_of_the_model():
    for build in (quantum.dressed, quantum.reuploading):
        for features in (4, 10):
            model = build(features, 2)
            assert quantum.parameter_count(build(features, 2, entangled=False)) == quantum.parameter_count(model)
            twin = quantum.parameter_count(quantum.equal_mlp(features, 2, model))
            assert abs(twin - quantum.parameter_count(model)) <= (features + 3) / 2


def test_reuploading_needs_enough_qubits():
    with pytest.raises(UsageError, match="13 features need 5 qubits"):
        quantum.reuploading(13, 2, qubits=4)


@pytest.mark.slow
@pytest.mark.parametrize("build", [quantum.dressed, quantum.reuploading])
def test_classifiers_keep_the_laws_of_models(qml, build):
    model = build(3, 2, qubits=2, layers=2)
    params = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 2, 3))
    whole = jax.jit(model.apply)(params, x)
    assert whole.shape == (2, 2, 2)
    rows = jax.jit(jax.vmap(jax.vmap(lambda row: model.apply(params, row))))(x)
    np.testing.assert_allclose(whole, rows, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, x) ** 2)))(params)
    assert all(jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_separable_twin_has_no_entanglement(qml):
    circuit = quantum.dressed_circuit(3, 2, False)
    angles = jax.random.normal(jax.random.key(0), (2, 3, 3))
    f = quantum.expectation(circuit)
    first = f(jnp.array([0.1, 0.2, 0.3]), angles)
    second = f(jnp.array([0.1, 1.2, 0.3]), angles)
    assert first[0] == pytest.approx(float(second[0]), abs=1e-6)
    assert first[1] != pytest.approx(float(second[1]), abs=1e-3)


def test_kernel_is_a_fidelity(qml):
    kernel = jax.jit(quantum.quantum_kernel(2))
    X = jnp.array([[0.1, 0.5], [0.9, -0.4], [0.3, 1.1]])
    table = kernel(X, X)
    np.testing.assert_allclose(np.diag(table), 1, atol=1e-5)
    np.testing.assert_allclose(table, table.T, atol=1e-5)
    assert np.linalg.eigvalsh(table).min() > -1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("cost", "observed"), [("global", 3), ("local", 2)])
def test_plateau_gradient_is_that_of_the_circuit(qml, cost, observed):
    key = jax.random.key(3)
    axis_key, angle_key = jax.random.split(key)
    axes = jax.random.randint(axis_key, (2, 3), 0, 3).tolist()
    angles = jax.random.uniform(angle_key, (2, 3), maxval=2 * np.pi)

    def circuit(angle):
        for wire in range(3):
            qml.RY(np.pi / 4, wires=wire)
        for layer in range(2):
            for wire in range(3):
                gate = (qml.RX, qml.RY, qml.RZ)[axes[layer][wire]]
                gate(angle if layer == wire == 0 else float(angles[layer, wire]), wires=wire)
            qml.CZ(wires=[0, 1])
            qml.CZ(wires=[1, 2])
        return qml.expval(qml.prod(*map(qml.Z, range(observed))))

    want = jax.grad(quantum.expectation(circuit))(angles[0, 0])
    assert abs(want) > 0.01
    assert quantum.plateau_gradient(3, 2, cost)(key) == pytest.approx(float(want), abs=1e-6)


def test_slope_interval_covers_a_known_slope():
    sizes, draws = [2, 4, 6, 8], 500
    covered = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(size=(4, draws))
        samples = noise * np.exp(-0.35 * np.array(sizes))[:, None]  # slope -0.7
        slope = quantum.slope_interval(sizes, jnp.asarray(samples, jnp.float32))
        covered += bool(slope.low <= -0.7 <= slope.high)
    assert 34 <= covered <= 40
