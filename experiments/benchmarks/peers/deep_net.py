"""The net of the depth benchmark as NumPy arrays, and how the memory of its gradient step is measured."""

import contextlib
import gc
import pathlib
import threading
import time

import numpy as np


def arrays(case):
    """Weights, biases, scales, head, inputs and labels, the same for every peer."""
    depth, width, batch = case["depth"], case["width"], case["batch"]
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((depth, width, width), np.float32) * np.float32(np.sqrt(2 / width))
    head = rng.standard_normal((width, 10), np.float32) / np.float32(np.sqrt(width))
    x = rng.standard_normal((batch, width), np.float32)
    bias, scale = np.zeros((depth, width), np.float32), np.full(depth, 1 / depth, np.float32)
    return weight, bias, scale, head, x, rng.integers(0, 10, batch)


def resident():
    """Resident memory of this process in MiB."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def growth(build, step, compiled=None):
    """MiB by which resident memory grows at most from before the net is built, over three steps.

    The NumPy copies of the inputs are freed before the first step in every peer alike; a compiler's own memory
    is not counted: the program is compiled before the net is built.
    """
    if compiled is not None:
        inputs = build()
        compiled(inputs)
        step(inputs)
        del inputs
        gc.collect()
        with contextlib.suppress(OSError):
            import ctypes

            ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident()
    peak = [before]
    inputs = build()
    gc.collect()
    running = True

    def watch():
        while running:
            peak[0] = max(peak[0], resident())
            time.sleep(0.002)

    peak[0] = resident()
    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        result = step(inputs)
        del result
    running = False
    watcher.join()
    return [peak[0] - before]
