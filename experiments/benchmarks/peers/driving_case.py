"""Weights and inputs of the driving benchmark as NumPy arrays, the same for every peer."""

import zlib

import numpy as np

ROWS, COLUMNS, RINGS, BEAMS, REACH = 32, 80, 4, 64, 70.0


def leaf(path, shape):
    """The weights called `path`, such as `fusion/head/weight`."""
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    scale = 0.5 / np.sqrt(shape[0]) if len(shape) > 1 else 0.02
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def inputs(batch):
    """Frames, sweeps, ego motion, commands and healths of a batch."""
    rng = np.random.default_rng(0)
    camera = rng.random((batch, 2, ROWS, COLUMNS)).astype(np.float32)
    lidar = np.minimum(REACH, 90 * rng.random((batch, 2, RINGS, BEAMS))).astype(np.float32)
    ego = np.stack([rng.uniform(2, 15, batch), rng.normal(size=batch), 0.1 * rng.normal(size=batch)], 1)
    command = np.stack([0.07 * rng.normal(size=batch), 2 * rng.normal(size=batch)], 1)
    health = rng.random((batch, 2))
    return camera, lidar, *(part.astype(np.float32) for part in (ego, command, health))
