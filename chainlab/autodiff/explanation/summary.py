"""Statistics of an array, computed on the host in float64."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Statistics of an array's finite elements.

    Attributes:
        size: Number of elements.
        norm: Euclidean norm of the finite elements.
        mean: Mean.
        std: Standard deviation.
        smallest: Least element.
        largest: Greatest element.
        zeros: Fraction of elements that are exactly zero.
        nonfinite: Number of NaN and infinite elements.
    """

    size: int
    norm: float
    mean: float
    std: float
    smallest: float
    largest: float
    zeros: float
    nonfinite: int


def flat(value: Any) -> np.ndarray:
    """Any value or tuple of values as one vector of float64 (complex128 where complex)."""
    if isinstance(value, tuple):
        return np.concatenate([flat(part) for part in value]) if value else np.zeros(0)
    array = np.asarray(value)
    wide = np.complex128 if array.dtype.kind == "c" else np.float64
    return array.astype(wide, copy=False).ravel()


def norm(value: Any) -> float:
    """Euclidean norm, accumulated in float64."""
    vector = flat(value)
    return float(np.sqrt(np.vdot(vector, vector).real))


def summarise(value: Any) -> Summary:
    """Compute the statistics of a value; keys and other opaque types give empty ones."""
    try:
        vector = flat(value)
    except (TypeError, ValueError):
        return Summary(int(np.size(value)), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    magnitude = np.abs(vector) if vector.dtype.kind == "c" else vector
    finite = magnitude[np.isfinite(magnitude)]
    if not finite.size:
        return Summary(vector.size, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, vector.size)
    return Summary(
        vector.size,
        float(np.sqrt(np.dot(finite, finite))),
        float(finite.mean()),
        float(finite.std()),
        float(finite.min()),
        float(finite.max()),
        float(np.mean(finite == 0.0)),
        vector.size - finite.size,
    )
