"""Flower's own secure aggregation (SecAgg+), run for real over TLS on loopback by the deployment's server and nodes."""

import json
import socket
import time

import numpy as np
import pytest

pytest.importorskip("flwr")
from chainlab.federated import flower, keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NODES, SIZE = 3, 50
APP = """
import os
from pathlib import Path

import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow


class Client(NumPyClient):
    def __init__(self, number):
        self.number = number

    def fit(self, parameters, config):
        values = np.random.default_rng(self.number).uniform(-1, 1, parameters[0].shape)
        return [parameters[0] + values], 10 * (self.number + 1), {}


def make(context):
    return Client(int(context.node_config["client"])).to_client()


client = ClientApp(client_fn=make, mods=[secaggplus_mod])
server = ServerApp()


class Keep(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
        found = super().aggregate_fit(server_round, results, failures)
        seen = [parameters_to_ndarrays(result.parameters)[0] for _, result in results]
        mean = parameters_to_ndarrays(found[0])[0]
        np.savez(Path(os.environ["CHAINLAB_FEDERATION"], "found.npz"), mean=mean, seen=seen)
        return found


@server.main()
def main(grid, context):
    try:
        start = ndarrays_to_parameters([np.zeros(SIZE)])
        least = {"min_fit_clients": NODES, "min_available_clients": NODES}
        strategy = Keep(fraction_evaluate=0, initial_parameters=start, **least)
        legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=1), strategy=strategy)
        secure = SecAggPlusWorkflow(num_shares=NODES, reconstruction_threshold=2, max_weight=100.0, timeout=120)
        DefaultWorkflow(fit_workflow=secure)(grid, legacy)
    except Exception as error:
        Path(os.environ["CHAINLAB_FEDERATION"], "failed").write_text(repr(error))
        raise
    Path(os.environ["CHAINLAB_FEDERATION"], "done").touch()
"""


def test_the_server_sees_the_weighted_mean_and_no_update(tmp_path):
    folder = tmp_path / "server"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = [tmp_path / f"key{node}" for node in range(NODES)]
    public = [keys.node_key(path) for path in own]
    module = APP.replace("SIZE", str(SIZE)).replace("NODES", str(NODES))
    app = flower.write_app(folder, {"note": json.dumps("secure")}, module=module)
    nodes = []
    try:
        with flower.superlink(folder, "127.0.0.1", port):
            flower.register(folder, public)
            authority = folder / "tls" / "authority.crt"
            for number, key in enumerate(own):
                place = tmp_path / f"node{number}"
                nodes.append(flower.join(place, f"127.0.0.1:{port}", authority, key, {"client": number}))
            flower.submit(folder, app)
            end = time.monotonic() + 240
            while not ((folder / "done").exists() or (folder / "failed").exists()):
                assert time.monotonic() < end, "waited in vain"
                time.sleep(0.2)
    finally:
        for node in nodes:
            flower.stop(node)
        print("\n".join(path.read_text(errors="replace")[-4000:] for path in tmp_path.rglob("*.log")))
    assert not (folder / "failed").exists(), (folder / "failed").read_text()
    found = np.load(folder / "found.npz")
    values = [np.random.default_rng(node).uniform(-1, 1, SIZE) for node in range(NODES)]
    wanted = np.average(values, axis=0, weights=[10, 20, 30])
    # 2^22 steps over [-8, 8], rounded at random, and weights scaled to 100
    assert np.max(np.abs(found["mean"] - wanted)) < 1e-3
    print(f"SecAgg+: largest difference from the plain weighted mean {np.max(np.abs(found['mean'] - wanted)):.1e}")
    assert all(np.max(np.abs(seen - value)) > 0.1 for seen in found["seen"] for value in values)
