"""A network written to NIR and read by snnTorch in its own environment gives the same spikes."""

import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from chainlab import interop, nn, spiking
from chainlab.lab.peers import PeerMissingError, peer_python

nir = pytest.importorskip("nir")
SCRIPT = Path(__file__).parents[2] / "experiments" / "benchmarks" / "peers" / "spiking_nir_snntorch.py"


def spikes_of_snntorch(graph, xs, folder):
    """What snnTorch makes of a graph and inputs, in its own environment."""
    try:
        python = peer_python("torch")
    except PeerMissingError as error:
        pytest.skip(str(error))
    nir.write(folder / "net.nir", graph)
    np.save(folder / "x.npy", np.asarray(xs))
    command = [python, SCRIPT, folder / "net.nir", folder / "x.npy", folder / "spikes.npy"]
    subprocess.run(command, check=True, capture_output=True)
    return np.load(folder / "spikes.npy")


@pytest.mark.slow
def test_snntorch_reads_our_graph(tmp_path):
    net = spiking.Network(
        {
            "first": nn.dense(6, 8),
            "hidden": spiking.lif(8, decay=0.9, reset="zero"),
            "second": nn.dense(8, 4),
            "fires": spiking.lif(4, decay=0.8, reset="zero"),
        }
    )
    params = net.init(jax.random.key(0))
    params["second"]["weight"] = 3 * params["second"]["weight"]
    xs = jax.random.normal(jax.random.key(1), (60, 3, 6))
    graph = interop.to_nir(net, params, dt=1e-4)  # the step that snnTorch assumes
    want = net.apply(params, xs)
    assert 0.02 < float(want.mean()) < 0.98
    np.testing.assert_array_equal(spikes_of_snntorch(graph, xs, tmp_path), want)


@pytest.mark.slow
def test_snntorch_reads_our_convolutions(tmp_path):
    net = spiking.Network(
        {
            "first": nn.convolution(2, 3, (3, 3)),
            "hidden": spiking.lif(3, decay=0.9, reset="zero"),
            "second": nn.convolution(3, 4, (3, 3), stride=(2, 2), padding="VALID"),
            "fires": spiking.lif(4, decay=0.8, reset="zero"),
        }
    )
    params = net.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (40, 3, 6, 5, 2))
    graph = interop.to_nir(net, params, dt=1e-4, image=(6, 5))
    want = net.apply(params, xs)
    assert 0.02 < float(want.mean()) < 0.98
    got = spikes_of_snntorch(graph, np.moveaxis(xs, -1, 2), tmp_path)
    np.testing.assert_array_equal(np.moveaxis(got, 2, -1), want)
