"""A round of FedAvg by hand in NumPy."""

import numpy as np
from federated_case import draw, local, summary
from worker import serve


def prepare(case):
    """Draw the clients, run one round and report the change."""
    layers, clients = draw(case)
    total = sum(len(y) for _, y in clients)
    held = {"layers": layers}

    def step():
        mean = [[np.zeros_like(w), np.zeros_like(b)] for w, b in held["layers"]]
        for x, y in clients:
            share = np.float32(len(y) / total)
            for sums, own, old in zip(mean, local(held["layers"], x, y, case), held["layers"]):  # noqa: B905
                sums[0] += share * (own[0] - old[0])
                sums[1] += share * (own[1] - old[1])
        held["layers"] = [(w + dw, b + db) for (w, b), (dw, db) in zip(held["layers"], mean)]  # noqa: B905

    step()
    return step, summary(layers, held["layers"])


serve(prepare)
