"""Is a declared slope the slope that was measured?"""

from dataclasses import dataclass

import numpy as np

from chainlab.autodiff.checking.differences import Slopes


@dataclass(frozen=True)
class Verdict:
    """What was decided for each of many slopes.

    Attributes:
        accepted: The declared slope agrees, or nothing could be measured.
        sharp: The measurement is accurate enough to have shown a wrong slope.
        want: The measured slope; at a kink the nearer of the two one-sided slopes.
        tolerance: Largest difference that would have been accepted.
        kink: The two one-sided slopes differ.
        flat: The function doesn't move at all near the point.
        jumps: It moves further away.
    """

    accepted: np.ndarray
    sharp: np.ndarray
    want: np.ndarray
    tolerance: np.ndarray
    kink: np.ndarray
    flat: np.ndarray
    jumps: np.ndarray


def judge(got: np.ndarray, measured: Slopes, rtol: float, floor: np.ndarray, visible: float) -> Verdict:
    r"""Compare declared slopes with measured ones.

    A slope is accepted within `rtol` of the measured one plus ten times the measurement's error plus `floor`;
    at a kink, anywhere between the two one-sided slopes; at the edge of the domain, at the slope that exists;
    and where smaller steps contradict larger ones (a kink nearby), at the slope of the smaller ones.

    Args:
        got: Declared slopes.
        measured: Measured slopes.
        rtol: Relative tolerance.
        floor: Absolute rounding error of the declared slopes.
        visible: Slopes below this are as good as zero: the function doesn't show them over its natural scale.

    Returns:
        The verdicts.
    """
    right, left = measured.right, measured.left
    scale = np.maximum(np.abs(got), np.abs(measured.central))
    tolerance = rtol * scale + 10 * measured.error + floor
    accepted = np.abs(got - measured.central) <= tolerance

    steepest = np.maximum(np.abs(right), np.abs(left))
    sides = measured.right_error + measured.left_error
    resolved = sides <= 1e-3 * steepest + floor
    kink = resolved & (np.abs(right - left) > 10 * sides + rtol * steepest + floor)
    margin = rtol * steepest + 10 * np.where(resolved, sides, 0.0) + floor
    between = (got >= np.minimum(right, left) - margin) & (got <= np.maximum(right, left) + margin)
    accepted |= kink & between

    edge = ~np.isfinite(measured.error) & (np.isfinite(measured.right_error) ^ np.isfinite(measured.left_error))
    side = np.where(np.isfinite(measured.right_error), right, left)
    side_error = np.minimum(measured.right_error, measured.left_error)
    edge_tolerance = rtol * np.maximum(np.abs(got), np.abs(side)) + 10 * side_error + floor

    with np.errstate(invalid="ignore"):
        finer = np.abs(measured.finer - got[:, None]) <= rtol * np.abs(got[:, None]) + 3 * measured.finer_error
    accepted |= finer.any(1)

    nearer = np.where(np.abs(got - right) < np.abs(got - left), right, left)
    want = np.where(edge, side, np.where(kink, nearer, measured.central))
    tolerance = np.where(edge, edge_tolerance, np.where(kink, margin, tolerance))
    accepted = np.where(edge, np.abs(got - side) <= edge_tolerance, accepted)
    sharp = np.where(edge, edge_tolerance, 10 * measured.error) <= np.maximum(0.3 * scale, visible)
    return Verdict(accepted, sharp | kink | finer.any(1), want, tolerance, kink, measured.flat, measured.moves)
