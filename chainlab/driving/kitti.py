"""KITTI: raw drives (synchronised and rectified) and the object set.

References:
    Geiger et al., Vision meets robotics: the KITTI dataset, IJRR 2013, and the development kits' readme files. The
    data is CC BY-NC-SA 3.0.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from chainlab.data.batches import Origin
from chainlab.data.locate import existing_folder
from chainlab.driving.checks import check_finite, check_times
from chainlab.driving.geometry import from_rotation, invert, transform
from chainlab.driving.record import Boxes, Camera, Frame, Log, Missing, Motion, Sweep
from chainlab.driving.sensor_files import read_image, read_points
from chainlab.errors import DataError, MissingDataError

_LICENCE = "CC BY-NC-SA 3.0"
_EARTH_RADIUS = 6378137.0
_OXTS_COLUMNS = 30


def read_kitti_raw(
    drive: str | Path, *, cameras: tuple[str, ...] = ("image_02", "image_03"), missing: Missing = "raise"
) -> Log:
    """Read a raw drive, for example `2011_09_26/2011_09_26_drive_0001_sync`.

    The ego frame is that of the inertial unit. Frames are matched by their number, not by their place among the
    files, so that a sweep that the data set lacks shifts nothing.

    Args:
        drive: The drive's folder; its parent holds the day's calibration files.
        cameras: Folders of the cameras to read.
        missing: Whether a frame without a sweep or picture is refused, or keeps None there.

    Returns:
        The drive, with its ego motion.

    Raises:
        MissingDataError: The folder, a calibration file or a sensor's file is missing.
        DataError: A file is truncated or damaged, a calibration is no rotation, times run backwards.
    """
    folder = existing_folder(drive, "a KITTI raw drive with oxts/, velodyne_points/ and image_0x/")
    day = folder.parent
    cam_to_cam = _numbers(day / "calib_cam_to_cam.txt")
    cam0_from_lidar = _rigid(_numbers(day / "calib_velo_to_cam.txt"), day / "calib_velo_to_cam.txt")
    lidar_from_ego = _rigid(_numbers(day / "calib_imu_to_velo.txt"), day / "calib_imu_to_velo.txt")
    where = f"{day / 'calib_cam_to_cam.txt'}: R_rect_00"
    rectify = from_rotation(_entry(cam_to_cam, "R_rect_00", (3, 3), where), np.zeros(3), where)
    calibrated = {
        name: _projection(
            _entry(cam_to_cam, f"P_rect_{name[-2:]}", (3, 4), str(day / "calib_cam_to_cam.txt")),
            rectify @ cam0_from_lidar @ lidar_from_ego,
        )
        for name in cameras
    }
    times = _times(folder / "oxts" / "timestamps.txt")
    records = sorted((folder / "oxts" / "data").glob("*.txt"))
    if len(records) != len(times):
        where = folder / "oxts" / "data"
        raise DataError(f"{where}: wanted one record a timestamp, got {len(records)} and {len(times)}")
    motion = _motion(times, np.stack([_oxts(path) for path in records]))
    numbers = [int(path.stem) for path in records]
    picture_times = {
        name: dict(enumerate(_times(folder / name / "timestamps.txt"))) if (folder / name).is_dir() else {}
        for name in cameras
    }

    def read(index: int) -> Frame:
        name = f"{numbers[index]:010d}"
        points = read_points(folder / "velodyne_points" / "data" / f"{name}.bin", 4, missing)
        pictures = {
            camera: Camera(
                read_image(folder / camera / "data" / f"{name}.png", missing),
                *calibrated[camera],
                picture_times[camera].get(numbers[index]),
            )
            for camera in cameras
        }
        assert motion.global_from_ego is not None
        return Frame(pictures, _sweep(points, lidar_from_ego), None, float(times[index]), motion.global_from_ego[index])

    return Log(times, read, motion, Origin("kitti-raw", str(folder), licence=_LICENCE))


def read_kitti_object(folder: str | Path, number: int, *, split: str = "training", missing: Missing = "raise") -> Frame:
    """Read a frame of the object set: the left colour camera, the sweep and, in `training`, the boxes.

    Args:
        folder: The folder that holds `training/` and `testing/`.
        number: Number of the frame.
        split: `training` or `testing`.
        missing: Whether a frame without a sweep or picture is refused, or keeps None there.

    Returns:
        The frame; its ego frame is that of the inertial unit.

    Raises:
        MissingDataError: The folder or a file is missing.
        DataError: A file is truncated or damaged, or a calibration is no rotation.
    """
    root = existing_folder(folder, "KITTI object data with training/ and testing/") / split
    file = root / "calib" / f"{number:06d}.txt"
    numbers = _numbers(file)
    rectify = from_rotation(_entry(numbers, "R0_rect", (3, 3), str(file)), np.zeros(3), f"{file}: R0_rect")
    cam0_from_lidar = _named_rigid(numbers, "Tr_velo_to_cam", file)
    lidar_from_ego = _named_rigid(numbers, "Tr_imu_to_velo", file)
    rectified_from_ego = rectify @ cam0_from_lidar @ lidar_from_ego
    camera = _projection(_entry(numbers, "P2", (3, 4), str(file)), rectified_from_ego)
    image = read_image(root / "image_2" / f"{number:06d}.png", missing)
    points = read_points(root / "velodyne" / f"{number:06d}.bin", 4, missing)
    labels = root / "label_2" / f"{number:06d}.txt"
    boxes = _labels(labels, invert(rectified_from_ego)) if labels.is_file() else None
    return Frame({"image_2": Camera(image, *camera)}, _sweep(points, lidar_from_ego), boxes)


def camera_boxes(
    rows: Float[np.ndarray, "boxes 7"], category: tuple[str, ...], ego_from_camera: Float[np.ndarray, "4 4"]
) -> Boxes:
    """KITTI's boxes in the common record.

    Args:
        rows: Height, width, length, x, y, z of the bottom's centre in the rectified camera frame, and the
            rotation about the camera's y axis, 0 along x.
        category: Classes.
        ego_from_camera: From the rectified frame of camera 0.

    Returns:
        The boxes in the ego frame.
    """
    height, width, length, x, y, z, turn = rows.T
    centre = transform(ego_from_camera, np.stack([x, y - height / 2, z], axis=-1))
    heading = np.stack([np.cos(turn), np.zeros_like(turn), -np.sin(turn)], axis=-1) @ ego_from_camera[:3, :3].T
    size = np.stack([length, width, height], axis=-1)
    return Boxes(centre, size, np.arctan2(heading[:, 1], heading[:, 0]), category)


def _sweep(points: np.ndarray | None, lidar_from_ego: np.ndarray) -> Sweep | None:
    return None if points is None else Sweep(points[:, :3], points[:, 3], invert(lidar_from_ego))


def _projection(
    P: Float[np.ndarray, "3 4"], rectified_from_ego: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """Intrinsics and pose of a camera whose 3 x 4 matrix is K [I | t], t its offset from camera 0."""
    intrinsics = P[:, :3]
    offset = np.eye(4)
    offset[:3, 3] = np.linalg.solve(intrinsics, P[:, 3])
    return intrinsics, offset @ rectified_from_ego


def _numbers(path: Path) -> dict[str, Float[np.ndarray, " numbers"]]:
    """The lines `name: numbers` of a calibration file; others (dates) are left out."""
    if not path.is_file():
        raise MissingDataError(f"{path}: no such calibration file")
    entries: dict[str, np.ndarray] = {}
    for line in path.read_text(errors="replace").splitlines():
        name, _, rest = line.partition(":")
        try:
            entries[name.strip()] = np.array([float(word) for word in rest.split()])
        except ValueError:
            continue
    return entries


def _entry(
    numbers: Mapping[str, np.ndarray], name: str, shape: tuple[int, int], where: str
) -> Float[np.ndarray, "rows columns"]:
    got = numbers.get(name, np.zeros(0))
    if got.size != shape[0] * shape[1]:
        raise DataError(f"{where}: wanted {shape[0] * shape[1]} numbers of {name}, got {got.size}: truncated?")
    return got.reshape(shape)


def _rigid(numbers: Mapping[str, np.ndarray], path: Path) -> Float[np.ndarray, "4 4"]:
    where = str(path)
    return from_rotation(_entry(numbers, "R", (3, 3), where), _entry(numbers, "T", (1, 3), where)[0], where)


def _named_rigid(numbers: Mapping[str, np.ndarray], name: str, path: Path) -> Float[np.ndarray, "4 4"]:
    matrix = _entry(numbers, name, (3, 4), str(path))
    return from_rotation(matrix[:, :3], matrix[:, 3], f"{path}: {name}")


def _times(path: Path) -> Float[np.ndarray, " time"]:
    if not path.is_file():
        raise MissingDataError(f"{path}: no such file of timestamps")
    try:
        stamps = np.array(
            [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()], "datetime64[ns]"
        )
    except ValueError as error:
        raise DataError(f"{path}: wanted lines like 2011-09-26 13:02:25.964389445: {error}") from None
    times = stamps.astype(np.int64) * 1e-9
    check_times(times, str(path))
    return times


def _oxts(path: Path) -> Float[np.ndarray, " columns"]:
    words = path.read_text(errors="replace").split()
    try:
        row = np.array([float(word) for word in words])
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if len(row) != _OXTS_COLUMNS:
        raise DataError(f"{path}: wanted {_OXTS_COLUMNS} numbers, got {len(row)}: truncated?")
    check_finite(row[None], str(path))
    return row


def _motion(time: Float[np.ndarray, " time"], oxts: Float[np.ndarray, "time columns"]) -> Motion:
    """Columns of the development kit: 0-2 latitude, longitude, altitude; 3-5 roll, pitch, yaw; 8 vf; 14 af; 22 wu."""
    from scipy.spatial.transform import Rotation

    latitude, longitude = np.radians(oxts[:, 0]), np.radians(oxts[:, 1])
    scale = _EARTH_RADIUS * np.cos(latitude[0])  # Mercator, at the scale of the first latitude
    poses = np.broadcast_to(np.eye(4), (len(time), 4, 4)).copy()
    poses[:, :3, :3] = Rotation.from_euler("ZYX", oxts[:, [5, 4, 3]]).as_matrix()
    north = np.log(np.tan(np.pi / 4 + latitude / 2))
    poses[:, :3, 3] = np.stack([scale * longitude, scale * north, oxts[:, 2]], axis=-1)
    poses[:, :3, 3] -= poses[0, :3, 3]  # metres from the start, not from the equator
    return Motion(time, oxts[:, 8], oxts[:, 14], oxts[:, 22], global_from_ego=poses)


def _labels(path: Path, ego_from_rectified: Float[np.ndarray, "4 4"]) -> Boxes:
    """`label_2`: class, truncated, occluded, alpha, a rectangle (4), then the seven numbers of `camera_boxes`."""
    rows: list[list[float]] = []
    category: list[str] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) not in (15, 16):  # results carry a score
            raise DataError(f"{path}: line {number}: wanted 15 columns, got {len(words)}: truncated?")
        if words[0] == "DontCare":
            continue
        try:
            rows.append([float(word) for word in words[8:15]])
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from None
        category.append(words[0])
    return camera_boxes(np.array(rows).reshape(-1, 7), tuple(category), ego_from_rectified)
