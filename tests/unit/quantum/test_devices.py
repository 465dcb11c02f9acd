"""Devices outside of JAX: one batch a gradient, noise, retries, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import quantum
from chainlab.errors import UsageError

W = jnp.array([0.3, 0.7])


@pytest.fixture(scope="module")
def circuit(qml):
    def circuit(w):
        qml.RX(w[0], wires=0)
        qml.CRY(w[1] * w[0], wires=[0, 1])
        return qml.expval(qml.Z(0)), qml.probs(wires=1)

    return circuit


@pytest.mark.parametrize("device", ["lightning.qubit", "default.mixed", "default.qubit"])
def test_a_gradient_is_one_batch(circuit, device):
    f = quantum.expectation(circuit, device=device)
    want = jax.jacrev(quantum.expectation(circuit))(W)
    with quantum.counting() as cost:
        got = jax.jit(jax.jacrev(f))(W)
        jax.block_until_ready(got)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, atol=1e-5)
    assert cost == quantum.Cost(circuits=1 + 2 + 4, batches=1)
    assert quantum.executions(jax.jacrev(f), W) == 1 + 2 + 4


def test_a_batch_of_examples_is_one_batch_of_circuits(circuit):
    f = quantum.expectation(circuit, device="lightning.qubit")
    with quantum.counting() as cost:
        got = jax.vmap(jax.grad(lambda w: f(w)[0]))(jnp.stack([W, 2 * W, 3 * W]))
        jax.block_until_ready(got)
    assert cost == quantum.Cost(circuits=3 * 7, batches=1)
    np.testing.assert_allclose(got[1], jax.grad(lambda w: quantum.expectation(circuit)(w)[0])(2 * W), atol=1e-5)


def test_noise_channels_run_on_a_mixed_state(qml):
    def circuit(angle, strength):
        qml.RX(angle, wires=0)
        qml.DepolarizingChannel(strength, wires=0)
        return qml.expval(qml.Z(0))

    f = quantum.expectation(circuit, device="default.mixed")
    value, slopes = jax.value_and_grad(f, (0, 1))(0.5, 0.3)
    shrink = 1 - 4 * 0.3 / 3
    assert value == pytest.approx(shrink * np.cos(0.5), abs=1e-6)
    assert slopes[0] == pytest.approx(-shrink * np.sin(0.5), abs=1e-6)
    assert slopes[1] == pytest.approx(-4 / 3 * np.cos(0.5), abs=1e-6)


def test_shots_on_a_device(circuit):
    f = quantum.expectation(circuit, device="default.qubit", device_options={"seed": 1}, shots=2000)
    assert f(W)[0] == pytest.approx(np.cos(0.3), abs=0.1)


def flaky(qml, failures):
    class Device(qml.devices.DefaultQubit):
        name = "flaky.device"
        left = failures

        def execute(self, *args, **kwargs):
            if type(self).left:
                type(self).left -= 1
                raise ConnectionError("the queue is full")
            return super().execute(*args, **kwargs)

    return Device()


def test_a_failing_device_is_tried_again_and_named(qml, circuit):
    f = quantum.expectation(circuit, device=flaky(qml, 2), retries=2)
    assert f(W)[0] == pytest.approx(np.cos(0.3), abs=1e-6)
    f = quantum.expectation(circuit, device=flaky(qml, 3), retries=2)
    with pytest.raises(Exception, match=r"flaky.device failed on a batch of 1 circuits, 3 times .*queue is full"):
        jax.block_until_ready(f(W))


def test_unknown_devices_are_named(circuit):
    with pytest.raises(UsageError, match=r"lightning\.quibt.*installed: .*lightning.qubit"):
        quantum.expectation(circuit, device="lightning.quibt")(W)
