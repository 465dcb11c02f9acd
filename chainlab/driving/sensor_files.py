"""Reading one sensor's file, or saying what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from chainlab.driving.checks import check_finite
from chainlab.driving.record import Missing
from chainlab.errors import DataError, MissingDataError, MissingDependencyError


def read_points(path: Path, columns: int, missing: Missing = "raise") -> Float32[np.ndarray, "points columns"] | None:
    """Read a sweep of packed little-endian float32 rows (KITTI `.bin`, nuScenes `.pcd.bin`).

    Args:
        path: The file.
        columns: Numbers a point.
        missing: Whether a sweep without a file or without points, or points that are not finite, are refused, or
            left out: None for the sweep, no row for the point.

    Returns:
        The points, or None.

    Raises:
        DataError: The file is truncated (always), or holds no points or points that are not finite.
        MissingDataError: There is no file.
    """
    if not path.is_file():
        if missing == "mask":
            return None
        raise MissingDataError(f"{path}: no such file; {_or_mask('the sweep')}")
    data = path.read_bytes()
    if len(data) % (4 * columns):
        whole = len(data) // (4 * columns)
        raise DataError(
            f"{path}: wanted rows of {columns} float32 ({4 * columns} bytes), got {len(data)} bytes ({whole} rows and"
            f" {len(data) % (4 * columns)} bytes): truncated, or of another layout"
        )
    points = np.frombuffer(data, "<f4").reshape(-1, columns)
    return usable(points, str(path), missing)


def usable(
    points: Float32[np.ndarray, "points columns"], where: str, missing: Missing
) -> Float32[np.ndarray, "usable columns"] | None:
    """The points that can be used.

    Args:
        points: The sweep.
        where: The file, for the error.
        missing: Whether what cannot be used is refused or left out.

    Returns:
        The points, or None when there are none.

    Raises:
        DataError: There are none, or some are not finite.
    """
    if missing == "mask":
        points = points[np.isfinite(points).all(axis=-1)]
        return points if len(points) else None
    if not len(points):
        raise DataError(f"{where}: wanted points, got an empty sweep; {_or_mask('the sweep')}")
    try:
        check_finite(points, where)
    except DataError as error:
        raise DataError(f"{error}; {_or_mask('those points')}") from None
    return points


def read_image(path: Path, missing: Missing = "raise") -> UInt8[np.ndarray, "height width 3"] | None:
    """Read a picture.

    Args:
        path: The file.
        missing: Whether a picture without a file is refused or None.

    Returns:
        Red, green and blue, or None.

    Raises:
        DataError: The file is truncated or not a picture.
        MissingDataError: There is no file.
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError("pillow", "driving", "reading camera images") from None
    if not path.is_file():
        if missing == "mask":
            return None
        raise MissingDataError(f"{path}: no such file; {_or_mask('the camera')}")
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: not a readable picture: {error}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        DataError: It is truncated or not JSON.
        MissingDataError: There is no file.
    """
    if not path.is_file():
        raise MissingDataError(f"{path}: no such file (looked in {path.parent.absolute()})")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON, or truncated: {error}") from None


def _or_mask(what: str) -> str:
    return f'read with missing="mask" to leave {what} out'
