"""What is refused in recorded data, with the place, what was wanted and what was got."""

import numpy as np
from jaxtyping import Float, Shaped

from chainlab.errors import DataError


def check_times(times: Float[np.ndarray, " time"], where: str, *, ties: bool = False) -> None:
    """Refuse clocks that run backwards.

    Args:
        times: The timestamps.
        where: What they belong to, for the error.
        ties: Whether equal neighbours are allowed.

    Raises:
        DataError: A time is not finite, or not later than the one before.

    Example:
        >>> import numpy as np
        >>> check_times(np.array([0.0, 0.2, 0.1]), "speed/t")
        Traceback (most recent call last):
        ...
        chainlab.errors.DataError: speed/t: row 2: wanted a time after 0.2 s, got 0.1 s: sort the rows by time
    """
    bad = np.flatnonzero(~np.isfinite(times))
    if bad.size:
        raise DataError(f"{where}: row {bad[0]}: wanted a finite time, got {times[bad[0]]}")
    steps = np.diff(times)
    back = np.flatnonzero(steps < 0 if ties else steps <= 0)
    if back.size:
        row = back[0] + 1
        before, now = (round(float(time), 6) for time in times[[row - 1, row]])
        wanted = "not before" if ties else "after"
        raise DataError(f"{where}: row {row}: wanted a time {wanted} {before} s, got {now} s: sort the rows by time")


def check_finite(values: Shaped[np.ndarray, "rows *channels"], where: str) -> None:
    """Refuse numbers that are not finite.

    Args:
        values: The numbers.
        where: What they belong to, for the error.

    Raises:
        DataError: Names the first row and how many there are.
    """
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=-1))
    if bad.size:
        raise DataError(f"{where}: row {bad[0]}: wanted finite numbers, got {values[bad[0]]} ({bad.size} such rows)")


def check_transform(matrix: Float[np.ndarray, "4 4"], where: str) -> Float[np.ndarray, "4 4"]:
    r"""Refuse a calibration or pose that is not a rigid motion, $R^\top R = I$ and $\det R = 1$.

    Args:
        matrix: The transform.
        where: What it belongs to, for the error.

    Returns:
        The matrix.

    Raises:
        DataError: It is not finite, its last row is not (0, 0, 0, 1), or its rotation is none (to 1e-3: files
            round to a few digits).

    Example:
        >>> import numpy as np
        >>> check_transform(np.diag([1.0, 1.0, -1.0, 1.0]), "Tr_velo_to_cam")
        Traceback (most recent call last):
        ...
        chainlab.errors.DataError: Tr_velo_to_cam: wanted a rotation (det R = 1), got a mirrored one (det R = -1.000)
    """
    if not np.isfinite(matrix).all():
        raise DataError(f"{where}: wanted finite numbers, got\n{matrix}")
    rotation = matrix[:3, :3]
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if error > 1e-3:
        raise DataError(f"{where}: wanted a rotation (R'R = I), got |R'R - I| = {error:.3g}")
    if (determinant := np.linalg.det(rotation)) < 0:
        raise DataError(f"{where}: wanted a rotation (det R = 1), got a mirrored one (det R = {determinant:.3f})")
    if not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise DataError(f"{where}: wanted a last row of 0 0 0 1, got {matrix[3]}")
    return matrix
