"""Leaves and coordinates whose gradient is zero although the function moves, in jumps."""

from collections.abc import Sequence

import numpy as np

from chainlab.autodiff.checking.programs import Lines

_SAMPLES = 2.0 ** np.arange(-10, 3.0, 0.5)
_NARROW = 1e-9


def jumps(
    lines: Lines, point: np.ndarray, base: np.ndarray, ranges: Sequence[tuple[int, int]], noise: float
) -> np.ndarray:
    """Along which ranges the function is a staircase: flat wherever it is sampled, with jumps between.

    A function that is flat only here (a relu that is off, the loser of a maximum) has a slope further away, and
    what it does between two samples is continuous: the interval in which it changes is narrowed until a jump
    and a slope differ.

    Args:
        lines: The function.
        point: Where.
        base: Direction, cut to each range.
        ranges: Ranges of coordinates.
        noise: Rounding error of a value.

    Returns:
        Whether each range is a staircase.
    """
    times = np.concatenate([-_SAMPLES[::-1], [0.0], _SAMPLES])
    values = lines(point, base, ranges, times)
    nearby = lines(point, base, ranges, times + 1e-7 * np.maximum(np.abs(times), 1e-3))
    change = np.abs(np.diff(values, axis=1))
    found = np.zeros(len(ranges), bool)
    for row, interval in enumerate(ranges):
        moves = np.flatnonzero(change[row] > 100 * noise)
        if not np.all(np.isfinite(values[row])) or not len(moves) or np.any(np.abs(nearby[row] - values[row]) > noise):
            continue
        nearest = moves[np.argmin(np.abs(times[moves]))]
        low, high = times[nearest], times[nearest + 1]
        before = jump = change[row, nearest]
        while high - low > _NARROW * max(abs(low), abs(high), 1e-3):
            inside = np.linspace(low, high, lines.samples)
            levels = lines(point, base, [interval], inside)[0]
            steepest = int(np.argmax(np.abs(np.diff(levels))))
            low, high = inside[steepest], inside[steepest + 1]
            before, jump = jump, abs(levels[steepest + 1] - levels[steepest])
        # A slope leaves a change in proportion to the interval, a jump keeps its height.
        found[row] = jump > 100 * noise and jump > 0.5 * before
    return found
