"""A round of FedAvg in Flower's simulation: its server, its Ray workers, NumPy clients.

Its cost includes the processes and the serialisation, which it has because it simulates a deployment.
"""

import json
import os
import queue
import threading
from pathlib import Path

os.environ.update(FLWR_TELEMETRY_ENABLED="0", RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")
os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for Ray's workers

import numpy as np
from federated_case import draw, drawn, local, summary
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation
from worker import serve

cases, rounds, done = queue.Queue(), queue.Queue(), queue.Queue()


def pack(layers):
    """Layers as a record."""
    return ArrayRecord([p for layer in layers for p in layer])


def unpack(record):
    """A record as layers."""
    arrays = record.to_numpy_ndarrays()
    return [(arrays[i], arrays[i + 1]) for i in range(0, len(arrays), 2)]


client = ClientApp()


@client.train()
def train(message, context):
    """Local SGD on the client's own data."""
    text = message.content["config"]["case"]
    case = json.loads(text)
    x, y = drawn(text)[1][int(context.node_config["partition-id"])]
    own = local(unpack(message.content["arrays"]), x, y, case)
    answer = RecordDict({"arrays": pack(own), "config": ConfigRecord({"examples": len(y)})})
    return Message(answer, reply_to=message)


server = ServerApp()


@server.main()
def main(grid, context):
    """A round a request; None ends."""
    while (request := rounds.get()) is not None:
        text, layers = request
        content = RecordDict({"arrays": pack(layers), "config": ConfigRecord({"case": text})})
        nodes = list(grid.get_node_ids())
        answers = list(grid.send_and_receive([Message(content, node, "train") for node in nodes]))
        failed = [answer.error.reason for answer in answers if answer.has_error()]
        if failed:
            done.put((failed[0], None))
            continue
        weights = [answer.content["config"]["examples"] for answer in answers]
        mean = [[np.zeros_like(p) for p in layer] for layer in layers]
        for weight, answer in zip(weights, answers):  # noqa: B905
            for sums, own, old in zip(mean, unpack(answer.content["arrays"]), layers):  # noqa: B905
                for index in range(2):
                    sums[index] += np.float32(weight / sum(weights)) * (own[index] - old[index])
        done.put((len(nodes), [(w + dw, b + db) for (w, b), (dw, db) in zip(layers, mean)]))  # noqa: B905


def prepare(case):
    """Start the simulation, run one round and report the change."""
    cases.put(case)
    text, layers = json.dumps(case), draw(case)[0]
    held = {"layers": layers}

    def step():
        rounds.put((text, held["layers"]))
        nodes, held["layers"] = done.get()
        if nodes != case["clients"]:
            raise RuntimeError(f"Flower: {nodes}")

    step()
    return step, summary(layers, held["layers"])


threading.Thread(target=serve, args=(prepare,), daemon=True).start()
resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 1}}
run_simulation(server, client, num_supernodes=cases.get()["clients"], backend_config=resources)
