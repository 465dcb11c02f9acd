"""Argoverse 2 sensor logs, from their Feather tables.

References:
    Wilson et al., Argoverse 2, NeurIPS Datasets and Benchmarks 2021 (arXiv:2301.00493), and the user guide of its
    API. The data is CC BY-NC-SA 4.0.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from chainlab.data.batches import Origin
from chainlab.data.locate import existing_folder
from chainlab.driving.checks import check_times
from chainlab.driving.geometry import from_quaternion, invert, yaw_of
from chainlab.driving.motion import motion_from_poses
from chainlab.driving.record import Boxes, Camera, Frame, Log, Missing, Sweep
from chainlab.driving.sensor_files import read_image, usable
from chainlab.errors import DataError, MissingDataError, MissingDependencyError

_LICENCE = "CC BY-NC-SA 4.0"
_ROTATION, _TRANSLATION = ("qw", "qx", "qy", "qz"), ("tx_m", "ty_m", "tz_m")
_NEAREST_PICTURE = 50_000_000  # ns: the ring cameras take a picture every 50 ms


def read_argoverse(folder: str | Path, *, missing: Missing = "raise") -> Log:
    """Read a log of the sensor set; a frame is a sweep (10 Hz).

    Sweeps are given in the ego frame, with the motion during the turn taken out. A camera's picture is the one
    nearest in time, at most 50 ms away, and its `camera_from_ego` carries the ego motion between the two. Lens
    distortion (k1, k2, k3) is not applied: the published pictures are undistorted.

    Args:
        folder: The log's folder, with `sensors/`, `city_SE3_egovehicle.feather` and so on.
        missing: Whether a frame without points or picture is refused, or keeps None there.

    Returns:
        The log. Without `calibration/` it has no cameras, without `annotations.feather` no boxes.

    Raises:
        MissingDataError: The folder or a file is missing.
        DataError: A file is truncated, lacks a column, or has no pose for a sweep.
        MissingDependencyError: PyArrow is not installed.
    """
    root = existing_folder(folder, "an Argoverse 2 log with sensors/lidar/")
    sweeps = sorted((root / "sensors" / "lidar").glob("*.feather"), key=lambda path: int(path.stem))
    if not sweeps:
        raise MissingDataError(f"{root / 'sensors' / 'lidar'}: wanted <nanoseconds>.feather sweeps, got none")
    pose_file = root / "city_SE3_egovehicle.feather"
    pose_table = _table(pose_file, ("timestamp_ns", *_ROTATION, *_TRANSLATION))
    stamps = pose_table["timestamp_ns"]
    check_times(stamps * 1e-9, str(pose_file), ties=True)  # 2 ns apart is one double
    poses = _poses(pose_table, pose_file)
    calibration = _calibration(root)
    pictures = {
        name: {int(path.stem): path for path in sorted((root / "sensors" / "cameras" / name).glob("*.jpg"))}
        for name in calibration
    }
    label_file = root / "annotations.feather"
    labels = _table(label_file, _LABEL_COLUMNS) if label_file.is_file() else None

    def pose(nanoseconds: int) -> Float[np.ndarray, "4 4"]:
        nearest = int(np.argmin(np.abs(stamps - nanoseconds)))
        if abs(int(stamps[nearest]) - nanoseconds) > _NEAREST_PICTURE:
            raise DataError(f"{pose_file}: wanted a pose at {nanoseconds} ns, got the nearest at {stamps[nearest]} ns")
        return poses[nearest]

    def read(index: int) -> Frame:
        now = int(sweeps[index].stem)
        global_from_ego = pose(now)
        cameras: dict[str, Camera] = {}
        for name, (intrinsics, camera_from_ego) in calibration.items():
            nearest = min(pictures[name], key=lambda stamp: abs(stamp - now), default=None)
            if nearest is None or abs(nearest - now) > _NEAREST_PICTURE:
                if missing == "raise":
                    raise MissingDataError(
                        f"{root / 'sensors' / 'cameras' / name}: wanted a picture within 50 ms of {now} ns, got none;"
                        ' read with missing="mask" to leave the camera out'
                    )
                cameras[name] = Camera(None, intrinsics, camera_from_ego)
                continue
            moved = camera_from_ego @ invert(pose(nearest)) @ global_from_ego
            cameras[name] = Camera(read_image(pictures[name][nearest]), intrinsics, moved, nearest * 1e-9)
        boxes = None if labels is None else _boxes(labels, now, label_file)
        return Frame(cameras, _sweep(sweeps[index], missing), boxes, now * 1e-9, global_from_ego)

    times = np.array([int(path.stem) for path in sweeps]) * 1e-9
    motion = motion_from_poses(stamps * 1e-9, poses)
    return Log(times, read, motion, Origin(root.name, str(root), licence=_LICENCE))


_LABEL_COLUMNS = ("timestamp_ns", "category", "length_m", "width_m", "height_m", *_ROTATION, *_TRANSLATION)


def _table(path: Path, columns: tuple[str, ...]) -> dict[str, Shaped[np.ndarray, " rows"]]:
    try:
        from pyarrow import ArrowInvalid, feather
    except ImportError:
        raise MissingDependencyError("pyarrow", "driving", "reading Argoverse 2") from None
    if not path.is_file():
        raise MissingDataError(f"{path}: no such file (looked in {path.parent.absolute()})")
    try:
        table = feather.read_table(path)
    except (ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Feather file, or truncated: {error}") from None
    if lacking := [name for name in columns if name not in table.column_names]:
        raise DataError(f"{path}: wanted columns {', '.join(lacking)}, got {', '.join(table.column_names)}")
    return {name: table[name].to_numpy() for name in columns}


def _stack(table: Mapping[str, np.ndarray], names: tuple[str, ...]) -> Float[np.ndarray, "rows columns"]:
    return np.stack([np.asarray(table[name], float) for name in names], axis=-1)


def _poses(table: Mapping[str, np.ndarray], path: Path) -> Float[np.ndarray, "rows 4 4"]:
    return from_quaternion(_stack(table, _ROTATION), _stack(table, _TRANSLATION), str(path))


def _calibration(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Intrinsics and `camera_from_ego` of the cameras that have both."""
    folder = root / "calibration"
    if not folder.is_dir():
        return {}
    extrinsics = _table(folder / "egovehicle_SE3_sensor.feather", ("sensor_name", *_ROTATION, *_TRANSLATION))
    ego_from_sensor = dict(zip(extrinsics["sensor_name"], _poses(extrinsics, folder), strict=True))
    table = _table(folder / "intrinsics.feather", ("sensor_name", "fx_px", "fy_px", "cx_px", "cy_px"))
    cameras: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, fx, fy, cx, cy in zip(*table.values(), strict=True):
        if name in ego_from_sensor:
            intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float)
            cameras[str(name)] = intrinsics, invert(ego_from_sensor[name])
    return cameras


def _sweep(path: Path, missing: Missing) -> Sweep | None:
    table = _table(path, ("x", "y", "z", "intensity", "laser_number"))
    rows = usable(_stack(table, tuple(table)).astype(np.float32), str(path), missing)
    if rows is None:
        return None
    return Sweep(rows[:, :3], rows[:, 3] / np.float32(255), np.eye(4), rows[:, 4].astype(int))


def _boxes(labels: Mapping[str, np.ndarray], now: int, path: Path) -> Boxes:
    stamps: Int[np.ndarray, " rows"] = labels["timestamp_ns"]
    here = {name: column[stamps == now] for name, column in labels.items()}
    size = _stack(here, ("length_m", "width_m", "height_m"))
    ego_from_box = _poses(here, path)
    return Boxes(ego_from_box[:, :3, 3], size, yaw_of(ego_from_box), tuple(map(str, here["category"])))
