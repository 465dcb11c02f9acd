"""The steps of any config, as the runner runs them: what `chainlab tune` times under several settings."""

import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from worker import serve

from chainlab.lab.config import load
from chainlab.lab.loop import build

_CAPACITY = 256


def prepare(case):
    """Compile the config's steps and choose how many of them take about `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(case["config"])
        document = load(path)
    task = document.task()
    loop = build(task, document.envelope.replicas, _CAPACITY)
    arrays = jax.device_put(task.data.arrays)
    held = {"replica": loop.start(), "step": 0}

    def advance(count):
        held["replica"], metrics = loop.steps(held["replica"], held["step"], count, arrays)
        held["step"] += count
        return jax.block_until_ready(metrics)

    first = jax.device_get(advance(1))
    outputs = [float(np.sum(np.asarray(value, np.float64))) for value in first.values()]
    began = time.perf_counter()
    advance(1)
    count = max(1, int(case["seconds"] / (time.perf_counter() - began)))
    whole, rest = divmod(min(count, 100_000), _CAPACITY)

    def step():
        for block in [_CAPACITY] * whole + [rest] * (rest > 0):
            advance(block)

    return step, outputs


serve(prepare)
