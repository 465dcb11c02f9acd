"""nuScenes, from its JSON tables.

References:
    Caesar et al., nuScenes: a multimodal dataset for autonomous driving, CVPR 2020 (arXiv:1903.11027), and the
    schema page of the development kit. The data is CC BY-NC-SA 4.0.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from chainlab.data.batches import Origin
from chainlab.data.locate import existing_folder
from chainlab.driving.checks import check_times
from chainlab.driving.geometry import from_quaternion, invert, transform, yaw_of
from chainlab.driving.motion import motion_from_poses
from chainlab.driving.record import Boxes, Camera, Frame, Log, Missing, Motion, Sweep
from chainlab.driving.sensor_files import read_image, read_json, read_points
from chainlab.errors import DataError

Row: TypeAlias = Mapping[str, Any]

_TABLES = (
    "scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor", "sample_annotation", "instance",
    "category",
)  # fmt: skip
_LICENCE = "CC BY-NC-SA 4.0"


def read_nuscenes(folder: str | Path, version: str = "v1.0-mini", *, missing: Missing = "raise") -> dict[str, Log]:
    """Read the tables of a version; pictures and sweeps are read when a frame is.

    A frame is a sample (2 Hz, labelled). Its time and ego pose are those of `LIDAR_TOP`; every camera's
    `camera_from_ego` carries the ego motion between the sweep and the picture.

    Args:
        folder: The folder that holds `<version>/`, `samples/` and, where steering is wanted, `can_bus/`.
        version: Folder of the tables.
        missing: Whether a frame without a sweep or picture is refused, or keeps None there.

    Returns:
        A drive by scene name. Its motion is that of the CAN bus where there is one, with steering, and otherwise
        from the ego poses of all sensors.

    Raises:
        MissingDataError: The folder, a table or a sensor's file is missing.
        DataError: A table or file is truncated, a table lacks a row that another names, times run backwards.
    """
    root = existing_folder(folder, f"{version}/ and samples/")
    tables = _Tables.read(root / version)
    return {row["name"]: _log(root, tables, row, missing) for row in tables["scene"].values()}


@dataclass(frozen=True)
class _Tables:
    folder: Path
    rows: Mapping[str, Mapping[str, Row]]
    by_sample: Mapping[str, Mapping[str, list[Row]]]

    @classmethod
    def read(cls, folder: Path) -> "_Tables":
        rows: dict[str, dict[str, Row]] = {}
        for name in _TABLES:
            file = folder / f"{name}.json"
            try:
                rows[name] = {row["token"]: row for row in read_json(file)}
            except (TypeError, KeyError):
                raise DataError(f"{file}: wanted a list of rows, each with a `token`") from None
        by_sample = {name: defaultdict[str, list[Row]](list) for name in ("sample_data", "sample_annotation")}
        for name, index in by_sample.items():
            for row in rows[name].values():
                index[row["sample_token"]].append(row)
        return cls(folder, rows, by_sample)

    def __getitem__(self, table: str) -> Mapping[str, Row]:
        return self.rows[table]

    def row(self, table: str, token: str) -> Row:
        try:
            return self.rows[table][token]
        except KeyError:
            raise DataError(f"{self.folder / table}.json: wanted a row with token {token!r}, got none") from None

    def pose(self, table: str, token: str) -> Float[np.ndarray, "4 4"]:
        row = self.row(table, token)
        where = f"{self.folder / table}.json: {token}"
        return from_quaternion(np.array(row["rotation"], float), np.array(row["translation"], float), where)

    def channel(self, data: Row) -> tuple[str, str]:
        sensor = self.row("sensor", self.row("calibrated_sensor", data["calibrated_sensor_token"])["sensor_token"])
        return sensor["channel"], sensor["modality"]


def _log(root: Path, tables: _Tables, scene: Row, missing: Missing) -> Log:
    samples: list[Row] = []
    token = scene["first_sample_token"]
    while token:  # a chain: the last sample's next is ""
        samples.append(tables.row("sample", token))
        token = samples[-1]["next"]
        if len(samples) > scene["nbr_samples"]:
            break
    if len(samples) != scene["nbr_samples"]:
        raise DataError(
            f"{tables.folder / 'scene.json'}: {scene['name']}: wanted a chain of {scene['nbr_samples']} samples, got"
            f" {'more (a loop?)' if len(samples) > scene['nbr_samples'] else len(samples)}"
        )
    times = np.array([sample["timestamp"] for sample in samples]) * 1e-6
    check_times(times, f"{tables.folder / 'sample.json'}: {scene['name']}")
    return Log(
        times,
        lambda index: _frame(root, tables, samples[index], missing),
        _motion(root, tables, scene, samples),
        Origin(scene["name"], str(root), licence=_LICENCE),
    )


def _frame(root: Path, tables: _Tables, sample: Row, missing: Missing) -> Frame:
    key_frames = [row for row in tables.by_sample["sample_data"][sample["token"]] if row["is_key_frame"]]
    by_channel = {tables.channel(row): row for row in key_frames}
    lidar = by_channel.get(("LIDAR_TOP", "lidar"))
    if lidar is None:
        raise DataError(f"{tables.folder / 'sample_data.json'}: sample {sample['token']} has no LIDAR_TOP key frame")
    global_from_ego = tables.pose("ego_pose", lidar["ego_pose_token"])
    cameras: dict[str, Camera] = {}
    for (channel, modality), row in by_channel.items():
        if modality != "camera":
            continue
        calibration = tables.row("calibrated_sensor", row["calibrated_sensor_token"])
        ego_from_camera = tables.pose("calibrated_sensor", row["calibrated_sensor_token"])
        then = invert(tables.pose("ego_pose", row["ego_pose_token"]))  # the vehicle moved until the picture
        cameras[channel] = Camera(
            read_image(root / row["filename"], missing),
            np.array(calibration["camera_intrinsic"], float),
            invert(ego_from_camera) @ then @ global_from_ego,
            row["timestamp"] * 1e-6,
        )
    points = read_points(root / lidar["filename"], 5, missing)
    ego_from_lidar = tables.pose("calibrated_sensor", lidar["calibrated_sensor_token"])
    boxes = _boxes(tables, tables.by_sample["sample_annotation"][sample["token"]], invert(global_from_ego))
    return Frame(cameras, sweep(points, ego_from_lidar), boxes, lidar["timestamp"] * 1e-6, global_from_ego)


def sweep(points: Float[np.ndarray, "points 5"] | None, ego_from_lidar: Float[np.ndarray, "4 4"]) -> Sweep | None:
    """A sweep of nuScenes rows: x, y, z, intensity in 0..255, ring.

    Args:
        points: The rows, or None.
        ego_from_lidar: Pose of the sensor.

    Returns:
        The sweep, or None.
    """
    if points is None:
        return None
    return Sweep(points[:, :3], points[:, 3] / np.float32(255), ego_from_lidar, points[:, 4].astype(int))


def _boxes(tables: _Tables, annotations: list[Row], ego_from_global: Float[np.ndarray, "4 4"]) -> Boxes:
    size = np.array([row["size"] for row in annotations], float).reshape(-1, 3)[:, [1, 0, 2]]  # width comes first
    centre = np.array([row["translation"] for row in annotations], float).reshape(-1, 3)
    rotation = np.array([row["rotation"] for row in annotations], float).reshape(-1, 4)
    global_from_box = from_quaternion(rotation, centre, str(tables.folder / "sample_annotation.json"))
    category = tuple(
        tables.row("category", tables.row("instance", row["instance_token"])["category_token"])["name"]
        for row in annotations
    )
    centre = transform(ego_from_global, centre)
    return Boxes(centre, size, yaw_of(ego_from_global @ global_from_box), category)


def _motion(root: Path, tables: _Tables, scene: Row, samples: list[Row]) -> Motion | None:
    pose_file = root / "can_bus" / f"{scene['name']}_pose.json"
    if pose_file.is_file():
        return _can_bus(pose_file, root / "can_bus" / f"{scene['name']}_steeranglefeedback.json")
    tokens = {row["ego_pose_token"] for sample in samples for row in tables.by_sample["sample_data"][sample["token"]]}
    poses = {tables.row("ego_pose", token)["timestamp"]: token for token in tokens}
    if len(poses) < 3:
        return None
    times = sorted(poses)
    stacked = np.stack([tables.pose("ego_pose", poses[time]) for time in times])
    return motion_from_poses(np.array(times) * 1e-6, stacked)


def _can_bus(pose_file: Path, steering_file: Path) -> Motion:
    """CAN bus expansion: `pose` at 50 Hz (vel, accel, rotation_rate in the ego frame), steering in rad at 100 Hz."""
    rows = read_json(pose_file)
    time = np.array([row["utime"] for row in rows]) * 1e-6
    column = {name: np.array([row[name] for row in rows], float) for name in ("vel", "accel", "rotation_rate")}
    steering = None
    if steering_file.is_file():
        feedback = read_json(steering_file)
        stamps = np.array([row["utime"] for row in feedback]) * 1e-6
        check_times(stamps, str(steering_file))
        steering = np.interp(time, stamps, np.array([row["value"] for row in feedback], float))
    check_times(time, str(pose_file))
    return Motion(time, column["vel"][:, 0], column["accel"][:, 0], column["rotation_rate"][:, 2], steering)
