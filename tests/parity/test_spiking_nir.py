"""A network written to NIR and read by snnTorch in its own environment gives the same spikes."""

import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from chainlab import interop, nn, spiking
from chainlab.lab.bench import PeerMissingError, peer_python

nir = pytest.importorskip("nir")
SCRIPT = Path(__file__).parents[2] / "experiments" / "benchmarks" / "peers" / "spiking_nir_snntorch.py"


@pytest.mark.slow
def test_snntorch_reads_our_graph(tmp_path):
    try:
        python = peer_python("torch")
    except PeerMissingError as error:
        pytest.skip(str(error))
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
    nir.write(tmp_path / "net.nir", interop.to_nir(net, params, dt=1e-4))  # the step that snnTorch assumes
    np.save(tmp_path / "x.npy", np.asarray(xs))
    command = [python, SCRIPT, tmp_path / "net.nir", tmp_path / "x.npy", tmp_path / "spikes.npy"]
    subprocess.run(command, check=True, capture_output=True)
    want = net.apply(params, xs)
    assert 0.02 < float(want.mean()) < 0.98
    np.testing.assert_array_equal(np.load(tmp_path / "spikes.npy"), want)
