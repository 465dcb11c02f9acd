r"""Derivatives of one-dimensional functions from samples, with an error estimate.

Central differences on a ladder of steps $h_k = 4^{-k}$ are extrapolated to step zero (Ridders):

$$T_{k,0} = \frac{\varphi(h_k) - \varphi(-h_k)}{2 h_k}, \qquad
  T_{k,m} = \frac{16^m\, T_{k,m-1} - T_{k-1,m-1}}{16^m - 1}.$$

The error of an entry is its distance to the two entries it was made from plus the rounding of the samples
divided by the step; the entry with the smallest error is the derivative. One-sided slopes are extrapolated in
the same way, with $4^m$.

References:
    C. J. F. Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", Adv. Eng. Software 4(2), 1982.
"""

from dataclasses import dataclass

import numpy as np

RATIO = 4.0
_ORDERS = 4


@dataclass(frozen=True)
class Slopes:
    """Derivatives of many functions at zero.

    Attributes:
        central: Two-sided derivative.
        error: Estimated error of `central`; infinite where nothing converged.
        right: Slope from above.
        left: Slope from below.
        right_error: Estimated error of `right`.
        left_error: Estimated error of `left`.
        finer: Estimates at every smaller step that contradict `central`, nan elsewhere.
        flat: Whether the samples of every small step equal the centre exactly, and not by rounding.
        moves: Whether any sample differs from the centre.
    """

    central: np.ndarray
    error: np.ndarray
    right: np.ndarray
    right_error: np.ndarray
    left: np.ndarray
    left_error: np.ndarray
    finer: np.ndarray
    finer_error: np.ndarray
    flat: np.ndarray
    moves: np.ndarray


def _tableau(first: np.ndarray, rounding: np.ndarray, base: float) -> tuple[np.ndarray, np.ndarray]:
    """All entries and their errors, `(functions, levels, orders)`; steps fall along `levels`."""
    entries = [first]
    differences = np.full_like(first, np.inf)
    differences[:, 1:] = np.abs(first[:, 1:] - first[:, :-1])
    errors = [differences]
    for order in range(1, _ORDERS):
        last = entries[-1]
        made = np.full_like(first, np.nan)
        error = np.full_like(first, np.inf)
        weight = base**order
        made[:, order:] = (weight * last[:, order:] - last[:, order - 1 : -1]) / (weight - 1)
        error[:, order:] = np.maximum(
            np.abs(made[:, order:] - last[:, order:]), np.abs(made[:, order:] - last[:, order - 1 : -1])
        )
        entries.append(made)
        errors.append(error)
    table = np.stack(entries, -1)
    error = np.stack(errors, -1) + rounding[..., None]
    bad = ~np.isfinite(table) | ~np.isfinite(error)
    return np.where(bad, 0.0, table), np.where(bad, np.inf, error)


def _best(table: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = error.reshape(len(error), -1)
    where = flat.argmin(1)
    rows = np.arange(len(flat))
    return table.reshape(len(table), -1)[rows, where], flat[rows, where], where // table.shape[2]


def slopes(centre: np.ndarray, plus: np.ndarray, minus: np.ndarray, steps: np.ndarray, noise: np.ndarray) -> Slopes:
    """Derivatives at zero of functions sampled on a ladder of steps.

    Args:
        centre: Values at zero, `(functions,)`.
        plus: Values at the steps, `(functions, levels)`.
        minus: Values at minus the steps.
        steps: Falling steps, each a quarter of the one before, `(levels,)`.
        noise: Rounding error of a sample, `(functions,)`.

    Returns:
        The slopes and their errors.
    """
    with np.errstate(all="ignore"):
        rounding = noise[:, None] / steps
        middle = centre[:, None]
        equal = (plus == middle) & (minus == middle)
        still = np.flip(np.logical_and.accumulate(np.flip(equal, 1), axis=1), 1)
        table, error = _tableau((plus - minus) / (2 * steps), rounding, RATIO**2)
        # Samples that no longer move are the rounding of a function with a slope, if larger steps agree on one.
        usable = np.where(still[..., None], np.inf, error)
        moving, moving_error, _ = _best(table, usable)
        rounded = still.any(1) & (moving_error <= 1e-3 * np.abs(moving))
        error = np.where(rounded[:, None, None], usable, error)
        central, least, level = _best(table, error)
        right, right_error, _ = _best(*_tableau((plus - middle) / steps, rounding * 2, RATIO))
        left, left_error, _ = _best(*_tableau((middle - minus) / steps, rounding * 2, RATIO))
        levels = np.arange(len(steps))[None, :, None]
        contradicts = (
            (levels > level[:, None, None])
            & ~still[..., None]
            & (np.abs(table - central[:, None, None]) > 10 * (error + least[:, None, None]))
            & (error <= 1e-3 * np.abs(table))
        )
        shape = (len(centre), -1)
        return Slopes(
            central,
            least,
            right,
            right_error,
            left,
            left_error,
            np.where(contradicts, table, np.nan).reshape(shape),
            np.where(contradicts, error, np.inf).reshape(shape),
            still.any(1) & ~rounded,
            ~equal.all(1),
        )
