"""The inputs of the spiking benchmarks, the same numbers in every environment (NumPy only)."""

import numpy as np


def layer(case):
    """Currents' inputs (time, batch, size) and weights (size, size) of one layer."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case["time"], case["batch"], case["size"]), np.float32)
    weight = 0.5 * rng.standard_normal((case["size"], case["size"]), np.float32) / np.sqrt(case["size"])
    return x, weight.astype(np.float32)


def training(case):
    """Images (batch, 784), labels, and the two layers' weights."""
    rng = np.random.default_rng(0)
    x = rng.random((case["batch"], 784), np.float32) * (rng.random((case["batch"], 784)) < 0.2)
    y = rng.integers(0, 10, case["batch"])
    first = rng.standard_normal((784, case["hidden"]), np.float32) / np.sqrt(784 * 0.2)
    second = 2 * rng.standard_normal((case["hidden"], 10), np.float32) / np.sqrt(case["hidden"])
    return x.astype(np.float32), y, first.astype(np.float32), second.astype(np.float32)


def summary(total, gradient):
    """What is compared between programs: the number of spikes, and the weight gradient's norm and parts of it."""
    gradient = np.asarray(gradient, np.float64)
    scale = np.linalg.norm(gradient)
    return [float(total) / 1e3, float(scale), *(gradient[::97, ::89].ravel()[:20]).tolist()]
