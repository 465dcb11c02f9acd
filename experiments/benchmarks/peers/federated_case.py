"""The clients, the parameters and what is compared: the same numbers in every environment."""

import functools
import json

import numpy as np


def draw(case):
    """Weights of each layer, and a client's `x` (examples, features) and `y`, in whole batches."""
    rng = np.random.default_rng(case.get("seed", 0))
    sizes, batch, classes = case["sizes"], case["batch"], case["sizes"][-1]
    layers = [
        (rng.normal(size=(a, b)).astype(np.float32) * np.float32(np.sqrt(2 / a)), np.zeros(b, np.float32))
        for a, b in zip(sizes, sizes[1:])  # noqa: B905, RUF007
    ]
    means = rng.normal(size=(classes, sizes[0])).astype(np.float32)
    batches = np.clip(np.round(rng.lognormal(np.log(7), 0.7, case["clients"])), 2, 24).astype(int)
    clients = []
    for count in batches:
        y = rng.choice(classes, count * batch, p=rng.dirichlet(np.full(classes, 0.3))).astype(np.int32)
        x = (means[y] + rng.normal(size=(len(y), sizes[0]))).astype(np.float32) / np.float32(np.sqrt(2))
        clients.append((x, y))
    return layers, clients


@functools.cache
def drawn(text):
    """What `draw` makes of a case given as text, once a process."""
    return draw(json.loads(text))


def local(layers, x, y, case):
    """Local SGD by hand in NumPy from the server's layers; the client's own layers."""
    rate, batch = np.float32(case["rate"]), case["batch"]
    layers = [(w.copy(), b.copy()) for w, b in layers]
    rows = np.arange(batch)
    for _ in range(case["epochs"]):
        for at in range(0, len(y), batch):
            inputs = [x[at : at + batch]]
            for w, b in layers[:-1]:
                inputs.append(np.maximum(inputs[-1] @ w + b, 0))
            logits = inputs[-1] @ layers[-1][0] + layers[-1][1]
            g = np.exp(logits - logits.max(1, keepdims=True))
            g /= g.sum(1, keepdims=True)
            g[rows, y[at : at + batch]] -= 1
            g /= np.float32(batch)
            for index in range(len(layers) - 1, -1, -1):
                w, b = layers[index]
                below = (g @ w.T) * (inputs[index] > 0) if index else None
                w -= rate * (inputs[index].T @ g)
                b -= rate * g.sum(0)
                g = below
    return layers


def summary(before, after):
    """Every 50th coordinate of the change of the parameters, for the comparison of results."""
    change = [np.ravel(new) - np.ravel(old) for a, b in zip(before, after) for old, new in zip(a, b)]  # noqa: B905
    return np.concatenate(change)[::50].astype(float).tolist()
