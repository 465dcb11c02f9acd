"""Frames of KITTI and nuScenes as mmdetection3d's info files list them (version 1.1, as JSON).

References:
    MMDetection3D, user guide, "Dataset preparation", the fields of `info`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from chainlab.driving import nuscenes
from chainlab.driving.checks import check_transform
from chainlab.driving.geometry import invert, transform
from chainlab.driving.kitti import camera_boxes
from chainlab.driving.record import Boxes, Camera, Frame, Missing, Sweep
from chainlab.driving.sensor_files import read_image, read_json, read_points
from chainlab.errors import DataError


def read_mmdetection3d(file: str | Path, index: int = 0, *, missing: Missing = "raise") -> Frame:
    """Read one entry of an info file; its pictures and sweep are beside it.

    Args:
        file: The JSON file (pickles are not read).
        index: Which entry.
        missing: Whether a frame without a sweep or picture is refused, or keeps None there.

    Returns:
        The frame. KITTI's ego frame is that of the inertial unit.

    Raises:
        MissingDataError: A file is missing.
        DataError: A file is truncated, a field is missing, or a calibration is no rotation.
    """
    path = Path(file).expanduser()
    content = read_json(path)
    try:
        entry = content["data_list"][index]
        metainfo = content["metainfo"]
        kitti = metainfo.get("dataset", metainfo.get("DATASET", "")).lower() == "kitti"
        return _kitti(path, entry, metainfo, missing) if kitti else _nuscenes(path, entry, metainfo, missing)
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(f"{path}: entry {index}: wanted an info of version 1.1, got none of {error}") from None


def _matrix(rows: Any, where: str) -> Float[np.ndarray, "4 4"]:
    return check_transform(np.array(rows, float), where)


def _nuscenes(path: Path, entry: Mapping[str, Any], metainfo: Mapping[str, Any], missing: Missing) -> Frame:
    ego_from_lidar = _matrix(entry["lidar_points"]["lidar2ego"], f"{path}: lidar2ego")
    cameras = {
        name: Camera(
            read_image(path.parent / image["img_path"], missing),
            np.array(image["cam2img"], float),
            _matrix(image["lidar2cam"], f"{path}: {name}: lidar2cam") @ invert(ego_from_lidar),
            image["timestamp"],
        )
        for name, image in entry["images"].items()
    }
    points = read_points(path.parent / entry["lidar_points"]["lidar_path"], 5, missing)
    rows = np.array([each["bbox_3d"] for each in entry["instances"]], float).reshape(-1, 7)
    heading = np.stack([np.cos(rows[:, 6]), np.sin(rows[:, 6]), np.zeros(len(rows))], axis=-1)
    heading = heading @ ego_from_lidar[:3, :3].T
    centre = transform(ego_from_lidar, rows[:, :3])
    category = _categories(entry["instances"], metainfo)
    boxes = Boxes(centre, rows[:, 3:6], np.arctan2(heading[:, 1], heading[:, 0]), category)
    pose = _matrix(entry["ego2global"], f"{path}: ego2global")
    return Frame(cameras, nuscenes.sweep(points, ego_from_lidar), boxes, entry["timestamp"], pose)


def _kitti(path: Path, entry: Mapping[str, Any], metainfo: Mapping[str, Any], missing: Missing) -> Frame:
    lidar = entry["lidar_points"]
    lidar_from_ego = _matrix(lidar["Tr_imu_to_velo"], f"{path}: Tr_imu_to_velo")
    cameras: dict[str, Camera] = {}
    for name, image in entry["images"].items():
        if not isinstance(image, Mapping) or "img_path" not in image:
            continue  # R0_rect, and cameras that are listed without a picture
        P = np.array(image["cam2img"], float)
        offset = np.eye(4)
        offset[:3, 3] = np.linalg.solve(P[:3, :3], P[:3, 3])
        camera_from_lidar = offset @ _matrix(image["lidar2cam"], f"{path}: {name}: lidar2cam")
        picture = read_image(path.parent / image["img_path"], missing)
        cameras[name] = Camera(picture, P[:3, :3], camera_from_lidar @ lidar_from_ego)
    points = read_points(path.parent / lidar["lidar_path"], 4, missing)
    sweep = None if points is None else Sweep(points[:, :3], points[:, 3], invert(lidar_from_ego))
    instances = [each for each in entry["instances"] if each["bbox_label_3d"] >= 0]  # others are DontCare regions
    rows = np.array([each["bbox_3d"] for each in instances], float).reshape(-1, 7)
    rectified_from_lidar = _matrix(entry["images"]["R0_rect"], f"{path}: R0_rect") @ _matrix(
        lidar["Tr_velo_to_cam"], f"{path}: Tr_velo_to_cam"
    )
    ego_from_rectified = invert(rectified_from_lidar @ lidar_from_ego)
    boxes = camera_boxes(rows[:, [4, 5, 3, 0, 1, 2, 6]], _categories(instances, metainfo), ego_from_rectified)
    return Frame(cameras, sweep, boxes)


def _categories(instances: Sequence[Mapping[str, Any]], metainfo: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes, or their numbers where the file does not name them."""
    names = {number: name for name, number in metainfo.get("categories", {}).items()}
    return tuple(names.get(each["bbox_label_3d"], str(each["bbox_label_3d"])) for each in instances)
