"""Neurons against snnTorch, run in its own environment."""

import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import spiking
from chainlab.lab.peers import PeerMissingError, peer_python

SCRIPT = Path(__file__).parents[2] / "experiments" / "benchmarks" / "peers" / "spiking_parity_snntorch.py"
DECAY, SYNAPTIC_DECAY, THRESHOLD = 0.95, 0.8, 1.0
STEPS, BATCH, SIZE = 100, 8, 64


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    try:
        python = peer_python("torch")
    except PeerMissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("snntorch")
    rng = np.random.default_rng(0)
    case = {
        # large enough that potentials pass twice the threshold, where the immediate resets differ
        "currents": (0.6 * rng.standard_normal((STEPS, BATCH, SIZE))).astype(np.float32),
        "weight": rng.standard_normal((STEPS, BATCH, SIZE)).astype(np.float32),
        "decay": DECAY,
        "synaptic_decay": SYNAPTIC_DECAY,
        "threshold": THRESHOLD,
    }
    np.savez(folder / "case.npz", **case)
    subprocess.run([python, SCRIPT, folder / "case.npz", folder / "result.npz"], check=True, capture_output=True)
    return case, dict(np.load(folder / "result.npz"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "reset"),
    [
        *[(f"leaky-{timing}", reset) for timing in ("delayed", "carried") for reset in ("subtract", "zero", "none")],
        # snnTorch's Synaptic resets to zero only after the input, and its current with it: another model
        *[("synaptic-delayed", reset) for reset in ("subtract", "none")],
    ],
)
def test_spikes_are_bit_equal_and_gradients_agree(peer, kind, reset):
    """snnTorch detaches a delayed reset and differentiates an immediate one (`reset_delay=False`)."""
    case, wanted = peer
    timing = kind.split("-")[1]
    surrogate = spiking.Surrogate("arctan", scale=np.pi, height=1.0)  # snnTorch's atan(alpha=2)
    options = {"decay": DECAY, "threshold": THRESHOLD, "reset": reset, "timing": timing, "surrogate": surrogate}
    if kind.startswith("leaky"):
        neuron = spiking.lif(SIZE, detach=timing == "delayed", **options)
    else:
        neuron = spiking.current_lif(SIZE, synaptic_decay=SYNAPTIC_DECAY, **options)
    net = spiking.Network({"neuron": neuron})

    def loss(currents):
        spikes = net.apply({"neuron": {}}, currents)
        return jnp.sum(spikes * jnp.asarray(case["weight"])), spikes

    (_, spikes), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(case["currents"]))
    assert 0.02 < float(jnp.mean(spikes)) < 0.95
    np.testing.assert_array_equal(spikes, wanted[f"{kind}-{reset}-spikes"])
    want = wanted[f"{kind}-{reset}-gradient"]
    assert np.max(np.abs(gradient - want)) <= 1e-5 * np.max(np.abs(want))
