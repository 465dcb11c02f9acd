"""Feature metrics against prdc, torchmetrics and pytorch-ignite in their own environment, on one set of features."""

import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import gan
from chainlab.lab.peers import PeerMissingError, peer_python

_SCRIPT = """
import json, sys
import numpy as np
import torch

torch.set_num_threads(1)
given = json.load(sys.stdin)
real, fake = np.array(given["real"]), np.array(given["fake"])
found = {}
try:
    from prdc import compute_prdc
    found["prdc"] = {k: float(v) for k, v in compute_prdc(real, fake, 5).items()}
except ImportError:
    pass
try:
    from ignite.metrics.gan import FID
    fid = FID(num_features=real.shape[1], feature_extractor=torch.nn.Identity())
    fid.update((torch.tensor(fake), torch.tensor(real)))
    found["ignite"] = float(fid.compute())
except ImportError:
    pass
try:
    from torchmetrics.image.fid import _compute_fid
    r, f = torch.tensor(real), torch.tensor(fake)
    found["torchmetrics"] = float(_compute_fid(r.mean(0), torch.cov(r.T), f.mean(0), torch.cov(f.T)))
except ImportError:
    pass
try:
    from torchmetrics.image.kid import poly_mmd
    found["kid"] = float(poly_mmd(torch.tensor(real), torch.tensor(fake)))
except ImportError:
    pass
print("RESULT" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 16)) @ rng.normal(size=(16, 16)) / 4
    return real, 0.8 * rng.normal(size=(200, 16)) @ rng.normal(size=(16, 16)) / 4 + 0.2


@pytest.fixture(scope="module")
def peers(sets):
    try:
        python = peer_python("torch")
    except PeerMissingError as error:
        pytest.skip(str(error))
    real, fake = sets
    given = json.dumps({"real": real.tolist(), "fake": fake.tolist()})
    done = subprocess.run([python, "-c", _SCRIPT], input=given, capture_output=True, text=True, timeout=200, check=True)
    return json.loads(done.stdout.split("RESULT")[1])


def ask(peers, name):
    if name not in peers:
        pytest.skip(f"the torch environment has no peer for {name}")
    return peers[name]


@pytest.mark.slow
def test_neighbour_metrics_are_those_of_prdc(x64, sets, peers):
    got = gan.neighbour_metrics(*map(jnp.asarray, sets))
    want = ask(peers, "prdc")
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["ignite", "torchmetrics"])
def test_frechet_distance_is_theirs(x64, sets, peers, peer):
    got = jax.jit(gan.frechet_distance)(*map(jnp.asarray, sets))
    np.testing.assert_allclose(got, ask(peers, peer), rtol=1e-5)


@pytest.mark.slow
def test_kernel_distance_is_that_of_torchmetrics(x64, sets, peers):
    np.testing.assert_allclose(gan.kernel_distance(*map(jnp.asarray, sets)), ask(peers, "kid"), rtol=1e-9)
