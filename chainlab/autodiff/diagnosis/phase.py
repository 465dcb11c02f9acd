"""The phase of a deep chain: does its adjoint shrink, stay or grow on its way to the input."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

Phase = Literal["ordered", "critical", "chaotic"]


@dataclass(frozen=True)
class Rate:
    """How the size of the adjoint changes with depth.

    Attributes:
        phase: `ordered` where it decays exponentially towards the input, `chaotic` where it grows, else `critical`.
        per_layer: Change of the natural logarithm of its root mean square in one step towards the input.
        depth_scale: Layers in which it changes by a factor e, infinite at criticality.
    """

    phase: Phase
    per_layer: float
    depth_scale: float


def rate(adjoint_rms: Float[ndarray, " layers"], width: int) -> Rate | None:
    r"""Fit $\log |\delta_l| = a + b\,(L - l)$ and say which phase that is.

    In the ordered and in the chaotic phase the change is exponential, and so the same in either half of the
    depth; at criticality it is a power law, which the half near the input carries, and a random walk: one layer
    of width $n$ multiplies the squared norm by a factor of variance at most $5 / n$ (ReLU), which gives the
    logarithm of the norm a drift of $-5 / 4n$ and a standard deviation of $\sqrt{5 / 4n}$ a layer. A rate counts
    when both halves have it, it exceeds this drift by three standard errors, and it makes a factor of 100 over
    the depth.

    Args:
        adjoint_rms: Root mean square of the adjoint of each layer of a chain, from the input on.
        width: Number of features of a layer.

    Returns:
        The rate, or None for fewer than 8 layers with a finite adjoint that is not 0.

    References:
        Schoenholz et al., Deep Information Propagation, arXiv:1611.01232, section 4; Hanin and Nica, Products of
        Many Large Random Matrices and Gradients in Deep Neural Networks, arXiv:1812.05994, theorem 1.
    """
    size = np.asarray(adjoint_rms, float)
    usable = np.flatnonzero(_usable(size))
    if usable.size < 8:
        return None
    depth, logs = usable.max() - usable, np.log(size[usable])
    middle = usable.size // 2
    per_layer = _slope(depth, logs)
    halves = _slope(depth[:middle], logs[:middle]), _slope(depth[middle:], logs[middle:])
    steady = min(half / per_layer if per_layer else 0.0 for half in halves) > 1 / 4
    layers = int(np.ptp(depth))
    drift = 5 / (4 * width) + 3 * np.sqrt(5 / (4 * width * layers))
    if not steady or abs(per_layer) < drift or abs(per_layer) * layers < np.log(100):
        phase = "critical"
    else:
        phase = "chaotic" if per_layer > 0 else "ordered"
    return Rate(phase, per_layer, 1 / abs(per_layer) if per_layer else np.inf)


def _usable(size: Float[ndarray, " layers"]) -> Bool[ndarray, " layers"]:
    """Finite, not 0, and not within a factor of 1000 of underflow, where denormals are flushed."""
    return np.isfinite(size) & (size > 1e-35)


def _slope(x: ndarray, y: ndarray) -> float:
    x = x - x.mean()
    return float(np.sum(x * (y - y.mean())) / np.sum(x * x))
