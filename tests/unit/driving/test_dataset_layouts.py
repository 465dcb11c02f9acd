"""Readers against files written by hand in each data set's layout, and against files that are damaged."""

import json
from pathlib import Path

import numpy as np
import pytest

from chainlab import driving
from chainlab.errors import DataError, MissingDataError, UsageError

Image = pytest.importorskip("PIL.Image")

SWEEP = np.array([[9.2, 1.3, -0.3, 0.5], [20.0, -3.0, -1.7, 0.25]], "<f4")
QUARTER = [0.5, -0.5, 0.5, -0.5]  # ego_from_camera: the camera's z axis is the ego's x, its x axis the ego's -y


def picture(path, height=40, width=120):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path)


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def kitti_raw(root):
    """Three frames heading east at 10 m/s; the middle one has no sweep, as in some published drives."""
    day = root / "2011_09_26"
    put(
        day / "calib_cam_to_cam.txt",
        "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.95e-02\nS_rect_02: 1.2e+02 4.0e+01\n"
        "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 700 0 60 45 0 700 20 0.2 0 0 1 0.003\n",
    )
    put(day / "calib_velo_to_cam.txt", "calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 0.1 -0.2\n")
    put(day / "calib_imu_to_velo.txt", "calib_time: 25-May-2012 16:47:16\nR: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.8\n")
    drive = day / "2011_09_26_drive_0001_sync"
    stamps = "".join(f"2011-09-26 13:02:{second}00000000\n" for second in ("25.9", "26.0", "26.1"))
    metre = np.degrees(1 / (6378137.0 * np.cos(np.radians(49.0))))
    for i in range(3):
        oxts = [49.0, 8.4 + i * metre, 110.0, 0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 0.0, 0.0, 0.5, 0.0, 9.8, 0.5, 0.0, 9.8]
        oxts += [0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.05, 0.02, 4, 10, 4, 4, 0]
        put(drive / "oxts" / "data" / f"{i:010d}.txt", " ".join(map(str, oxts)))
        picture(drive / "image_02" / "data" / f"{i:010d}.png")
        if i != 1:
            put(drive / "velodyne_points" / "data" / f"{i:010d}.bin", SWEEP.tobytes())
    for folder in ("oxts", "image_02", "velodyne_points"):
        put(drive / folder / "timestamps.txt", stamps)
    return drive


def kitti_object(root):
    rows = {
        **{f"P{i}": "700 0 60 45 0 700 20 0.2 0 0 1 0.003" for i in range(4)},
        "R0_rect": "1 0 0 0 1 0 0 0 1",
        "Tr_velo_to_cam": "0 -1 0 0 0 0 -1 0.1 1 0 0 -0.2",
        "Tr_imu_to_velo": "1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8",
    }
    put(root / "training/calib/000007.txt", "".join(f"{name}: {numbers}\n" for name, numbers in rows.items()) + "\n")
    put(
        root / "training/label_2/000007.txt",
        f"Car 0.00 0 -1.57 10 10 20 20 1.50 1.60 4.00 -1.30 1.15 9.00 {-np.pi / 2}\n"
        "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10\n",
    )
    picture(root / "training/image_2/000007.png")
    put(root / "training/velodyne/000007.bin", SWEEP.tobytes())
    return root


def nuscenes(root):
    """Two samples; the vehicle drives 0.5 m along x between each sweep and its picture."""
    tables = {
        "scene": [{"token": "s", "name": "scene-0001", "nbr_samples": 2, "first_sample_token": "a"}],
        "sample": [
            {"token": "a", "timestamp": 1_000_000, "prev": "", "next": "b", "scene_token": "s"},
            {"token": "b", "timestamp": 1_500_000, "prev": "a", "next": "", "scene_token": "s"},
        ],
        "sensor": [
            {"token": "L", "channel": "LIDAR_TOP", "modality": "lidar"},
            {"token": "C", "channel": "CAM_FRONT", "modality": "camera"},
        ],
        "calibrated_sensor": [
            {"token": "cl", "sensor_token": "L", "translation": [1, 0, 2], "rotation": [1, 0, 0, 0]},
            {"token": "cc", "sensor_token": "C", "translation": [1.5, 0, 1], "rotation": QUARTER,
             "camera_intrinsic": [[100, 0, 60], [0, 100, 20], [0, 0, 1]]},
        ],
        "ego_pose": [], "sample_data": [],
        "category": [{"token": "k", "name": "vehicle.car"}],
        "instance": [{"token": "i", "category_token": "k"}],
        "sample_annotation": [
            {"token": "x", "sample_token": "a", "instance_token": "i", "translation": [110, 50, 1],
             "size": [2, 4, 1.5], "rotation": [1, 0, 0, 0]},
        ],
    }  # fmt: skip
    for sample, time, x in (("a", 1_000_000, 100.0), ("b", 1_500_000, 105.0)):
        for sensor, late, suffix in (("l", 0, ".pcd.bin"), ("c", 50_000, ".jpg")):
            token, name = f"{sample}{sensor}", f"samples/{sensor}/{sample}{suffix}"
            pose = {"translation": [x + 1e-5 * late, 50, 0], "rotation": [1, 0, 0, 0]}
            tables["ego_pose"].append({"token": token, "timestamp": time + late, **pose})
            row = {"token": token, "sample_token": sample, "ego_pose_token": token, "is_key_frame": True}
            row |= {"calibrated_sensor_token": f"c{sensor}", "timestamp": time + late, "filename": name}
            tables["sample_data"].append(row)
            if sensor == "l":
                put(root / name, np.array([[9.0, 0.0, -1.0, 255.0, 3.0]], "<f4").tobytes())
            else:
                picture(root / name)
    tables["sample_data"].append({**tables["sample_data"][0], "token": "sweep", "is_key_frame": False})
    for name, rows in tables.items():
        put(root / "v1.0-mini" / f"{name}.json", json.dumps(rows))
    return root


def argoverse(root):
    pyarrow, feather = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.feather")

    def table(path, **columns):
        path.parent.mkdir(parents=True, exist_ok=True)
        feather.write_feather(pyarrow.table(columns), path)

    def pose(x):
        one, zero = np.ones(len(x)), np.zeros(len(x))
        turn = {"qw": one, "qx": zero, "qy": zero, "qz": zero}
        return turn | {"tx_m": np.array(x, float), "ty_m": zero, "tz_m": zero}

    t0 = 315_973_157_959_879_000
    stamps = t0 + 50_000_000 * np.arange(5)
    table(root / "city_SE3_egovehicle.feather", timestamp_ns=stamps, **pose(0.5 * np.arange(5)))
    camera = pose([1.5])
    camera |= {name: np.array([value]) for name, value in zip(("qw", "qx", "qy", "qz"), QUARTER, strict=True)}
    table(root / "calibration/egovehicle_SE3_sensor.feather", sensor_name=["ring_front_center"], **camera)
    sizes = {"height_px": [40], "width_px": [120], "k1": [-0.2], "k2": [0.0], "k3": [0.0]}
    lens = {"fx_px": [100.0], "fy_px": [100.0], "cx_px": [60.0], "cy_px": [20.0]}
    table(root / "calibration/intrinsics.feather", sensor_name=["ring_front_center"], **lens, **sizes)
    labels = {"category": ["BUS"], "length_m": [4.0], "width_m": [2.0], "height_m": [1.5]}
    table(root / "annotations.feather", timestamp_ns=[t0], track_uuid=["u"], **labels, **pose([10.0]))
    for stamp in (t0, t0 + 100_000_000):
        half = {name: np.array([value], np.float16) for name, value in zip("xyz", (10, 1, 0.5), strict=True)}
        rest = {"intensity": np.array([51], np.uint8), "laser_number": np.array([7], np.uint8)}
        table(root / f"sensors/lidar/{stamp}.feather", **half, **rest, offset_ns=np.array([0], np.int32))
        picture(root / f"sensors/cameras/ring_front_center/{stamp + 20_000_000}.jpg")
    return root


def comma(root):
    rng = np.random.default_rng(0)
    shapes = {"CAN/speed": (9, 1), "CAN/steering_angle": (9,), "CAN/wheel_speed": (9, 4)}
    shapes |= {"IMU/accelerometer": (9, 3), "IMU/gyro": (9, 3)}
    for name, shape in shapes.items():
        for part, array in (("t", 5 + 0.01 * np.arange(9)), ("value", rng.normal(size=shape))):
            save(root / "processed_log" / name / part, array)
    save(root / "global_pose/frame_times", 5 + 0.05 * np.arange(4))
    save(root / "global_pose/frame_velocities", np.array([[3.0, 4.0, 0.0]] * 4))
    return root


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:  # the published files have no suffix
        np.save(stream, array)


def pixel(frame, camera, point):
    view = frame.cameras[camera]
    u, v, depth = view.intrinsics @ driving.transform(view.camera_from_ego, np.array(point))
    return u / depth, v / depth


# an ego point of (10, 1, 0.5) is (9.2, 1.3, -0.3) for KITTI's LiDAR and (-1.3, 0.4, 9) for its camera 0
KITTI_PIXEL = (700 * -1.3 + 60 * 9.0 + 45) / 9.003, (700 * 0.4 + 20 * 9.0 + 0.2) / 9.003


def test_kitti_raw(tmp_path):
    log = driving.read_kitti_raw(kitti_raw(tmp_path), cameras=("image_02",), missing="mask")
    assert len(log) == 3
    np.testing.assert_allclose(np.diff(log.times), 0.1, atol=1e-6)
    first, second, third = log
    assert second.sweep is None  # frame 2 keeps its own sweep and pose: nothing shifts
    assert third.sweep is not None
    np.testing.assert_allclose(driving.transform(first.sweep.ego_from_lidar, first.sweep.points)[0], [10, 1, 0.5], 1e-6)
    np.testing.assert_allclose(pixel(first, "image_02", [10, 1, 0.5]), KITTI_PIXEL)
    np.testing.assert_allclose(log.motion.global_from_ego[:, :3, 3], [[0, 0, 0], [1, 0, 0], [2, 0, 0]], atol=1e-6)
    assert (log.motion.speed[1], log.motion.acceleration[1], log.motion.yaw_rate[1]) == (10, 0.5, 0.1)
    assert log[-1].time == log.times[2]
    with pytest.raises(IndexError, match=r"0\.\.2, got 3"):
        log[3]


def test_kitti_object(tmp_path):
    frame = driving.read_kitti_object(kitti_object(tmp_path), 7)
    np.testing.assert_allclose(pixel(frame, "image_2", [10, 1, 0.5]), KITTI_PIXEL)
    assert frame.boxes.category == ("Car",)
    np.testing.assert_allclose(frame.boxes.centre, [[10, 1, 0.5]])  # its bottom is 0.75 m lower
    np.testing.assert_allclose(frame.boxes.size, [[4.0, 1.6, 1.5]])
    np.testing.assert_allclose(frame.boxes.yaw, [0.0], atol=1e-12)
    assert frame.sweep.intensity.tolist() == [0.5, 0.25]


def test_nuscenes(tmp_path):
    log = driving.read_nuscenes(nuscenes(tmp_path))["scene-0001"]
    frame = log[0]
    np.testing.assert_allclose(driving.transform(frame.sweep.ego_from_lidar, frame.sweep.points), [[10, 0, 1]])
    # 10 m ahead at the sweep is 9.5 m ahead at the picture, 8 m from the camera
    np.testing.assert_allclose(pixel(frame, "CAM_FRONT", [10.0, 0.8, 1.0]), [60 - 100 * 0.8 / 8, 20])
    np.testing.assert_allclose(frame.boxes.centre, [[10, 0, 1]])
    np.testing.assert_allclose(frame.boxes.size, [[4, 2, 1.5]])
    assert frame.boxes.category == ("vehicle.car",)
    assert (frame.sweep.intensity[0], frame.sweep.ring[0]) == (1.0, 3)
    np.testing.assert_allclose(log.motion.speed, 10)
    assert log.motion.steering is None
    rest = {"accel": [5, 0, 9.8], "rotation_rate": [0, 0, 0.2], "pos": [0, 0, 0], "orientation": [1, 0, 0, 0]}
    pose = [{"utime": 10**6 + 20_000 * i, "vel": [8 + 0.1 * i, 0, 0], **rest} for i in range(3)]
    put(tmp_path / "can_bus/scene-0001_pose.json", json.dumps(pose))
    steering = [{"utime": 990_000, "value": 0.1}, {"utime": 1_050_000, "value": 0.4}]
    put(tmp_path / "can_bus/scene-0001_steeranglefeedback.json", json.dumps(steering))
    motion = driving.read_nuscenes(tmp_path)["scene-0001"].motion
    np.testing.assert_allclose(motion.speed, [8, 8.1, 8.2])
    np.testing.assert_allclose(motion.steering, [0.15, 0.25, 0.35])
    assert motion.yaw_rate[0] == 0.2


def test_argoverse(tmp_path):
    log = driving.read_argoverse(argoverse(tmp_path))
    assert len(log) == 2
    frame = log[0]
    assert (frame.sweep.intensity[0], frame.sweep.ring[0]) == (np.float32(0.2), 7)
    # the picture is 20 ms later; the nearest pose is that of the sweep: 8.5 m from the camera
    np.testing.assert_allclose(pixel(frame, "ring_front_center", [10, 1, 0.5]), [60 - 100 / 8.5, 20 - 50 / 8.5])
    assert frame.boxes.contains(frame.sweep.points.astype(float)).tolist() == [[True]]
    assert log[1].boxes.category == ()
    np.testing.assert_allclose(log.motion.speed, 10, rtol=1e-5)  # seconds of 2^28 in a double


def test_comma_windows_hold_nothing_later(tmp_path):
    log = driving.read_comma(comma(tmp_path))
    np.testing.assert_allclose(log.motion.speed, 5)
    signal = log.signals["acceleration"]
    sensors = driving.motion_sensors(log, np.array([4.9, 5.0, 5.035, 5.2]), window=0.02)
    assert np.isnan(sensors.acceleration[[0, 3]]).all()  # nothing recorded then: missing, not zero
    np.testing.assert_allclose(sensors.acceleration[1], signal.value[0])
    np.testing.assert_allclose(sensors.acceleration[2], signal.value[2:4].mean(0))
    raw = np.load(tmp_path / "processed_log/IMU/accelerometer/value")
    np.testing.assert_allclose(signal.value, raw * [1, -1, -1])
    degrees = np.load(tmp_path / "processed_log/CAN/steering_angle/value")
    np.testing.assert_allclose(sensors.steering[2], np.radians(degrees[3]))


def test_collate_marks_what_is_missing(tmp_path):
    log = driving.read_kitti_raw(kitti_raw(tmp_path), cameras=("image_02",), missing="mask")
    (tmp_path / DRIVE / "image_02/data/0000000002.png").unlink()
    batch = driving.collate(list(log), ["image_02"], points=3, size=(20, 60))
    assert batch["image_mask"].tolist() == [[True], [True], [False]]
    assert batch["point_mask"].tolist() == [[True, True, False], [False] * 3, [True, True, False]]
    np.testing.assert_allclose(batch["points"][0, 0], [10, 1, 0.5], rtol=1e-5)
    assert batch["images"].shape == (3, 1, 20, 60, 3)
    np.testing.assert_allclose(batch["intrinsics"][0, 0, 0], [350, 0, 29.75])
    thinned = driving.collate(list(log), ["image_02"], points=1, size=(20, 60))
    assert thinned["point_mask"].tolist() == [[True], [False], [True]]
    with pytest.raises(UsageError, match="no camera 'image_03': it has image_02"):
        driving.collate(list(log), ["image_03"], points=3, size=(20, 60))
    with pytest.raises(UsageError, match="at least one frame"):
        driving.collate([], ["image_02"], points=3, size=(20, 60))


def swap(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def nans(path):
    points = SWEEP.copy()
    points[1, 2] = np.nan
    path.write_bytes(points.tobytes())


OBJECT = "training/velodyne/000007.bin"
DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"
DAMAGE = {
    "empty sweep": (kitti_object, OBJECT, lambda path: path.write_bytes(b""), "empty sweep.*missing=\"mask\""),
    "NaN points": (kitti_object, OBJECT, nans, r"row 1: wanted finite numbers.*\(1 such rows\)"),
    "truncated sweep": (kitti_object, OBJECT, cut, r"29 bytes \(1 rows and 13 bytes\): truncated"),
    "missing sweep": (kitti_object, OBJECT, Path.unlink, "no such file.*mask"),
    "missing camera": (kitti_object, "training/image_2/000007.png", Path.unlink, "no such file.*leave the camera out"),
    "truncated picture": (kitti_object, "training/image_2/000007.png",
                          lambda path: path.write_bytes(path.read_bytes()[:900]), "not a readable picture"),
    "mirrored calibration": (kitti_object, "training/calib/000007.txt",
                             lambda path: swap(path, "0 -1 0 0 0 0", "0 1 0 0 0 0"), "Tr_velo_to_cam.*mirrored"),
    "scaled calibration": (kitti_object, "training/calib/000007.txt",
                           lambda path: swap(path, "R0_rect: 1 ", "R0_rect: 1.1 "), "R0_rect: wanted a rotation"),
    "short calibration": (kitti_object, "training/calib/000007.txt",
                          lambda path: swap(path, " 0 0 1 -0.8", " 0 0"), "12 numbers of Tr_imu_to_velo, got 10"),
    "short label": (kitti_object, "training/label_2/000007.txt",
                    lambda path: swap(path, "Car 0.00 0 ", "Car "), "line 1: wanted 15 columns, got 13"),
    "label of words": (kitti_object, "training/label_2/000007.txt",
                       lambda path: path.write_text("Car 0 0 0 0 0 0 0 1.5 1.8 wide 0 1 9 0"), "line 1: .*'wide'"),
    "label of bytes": (kitti_object, "training/label_2/000007.txt",
                       lambda path: path.write_bytes(b"\x89PNG"), "line 1: wanted 15 columns, got 1"),
    "raw times": (kitti_raw, f"{DRIVE}/oxts/timestamps.txt",
                  lambda path: swap(path, "26.100000000", "25.100000000"), "row 2: wanted a time after"),
    "raw stamp": (kitti_raw, f"{DRIVE}/oxts/timestamps.txt",
                  lambda path: swap(path, "26.100000000", "later"), "wanted lines like"),
    "raw record": (kitti_raw, f"{DRIVE}/oxts/data/0000000002.txt",
                   lambda path: path.write_text("49 8.4"), "wanted 30 numbers, got 2"),
    "raw records": (kitti_raw, f"{DRIVE}/oxts/data/0000000002.txt", Path.unlink, "got 2 and 3"),
    "raw calibration": (kitti_raw, "2011_09_26/calib_velo_to_cam.txt", Path.unlink, "no such calibration file"),
    "table": (nuscenes, "v1.0-mini/sample.json", cut, "not JSON, or truncated"),
    "table without": (nuscenes, "v1.0-mini/ego_pose.json", Path.unlink, "no such file"),
    "table rows": (nuscenes, "v1.0-mini/sensor.json", lambda path: path.write_text("[1]"), "each with a `token`"),
    "table reference": (nuscenes, "v1.0-mini/ego_pose.json",
                        lambda path: swap(path, '"token": "bl"', '"token": "zz"'), "wanted a row with token 'bl'"),
    "table chain": (nuscenes, "v1.0-mini/sample.json",
                    lambda path: swap(path, '"next": ""', '"next": "a"'), r"more \(a loop\?\)"),
    "table times": (nuscenes, "v1.0-mini/sample.json",
                    lambda path: swap(path, "1500000", "900000"), "row 1: wanted a time after 1.0 s, got 0.9 s"),
    "table rotation": (nuscenes, "v1.0-mini/calibrated_sensor.json",
                       lambda path: swap(path, "[1, 0, 0, 0]", "[2, 0, 0, 0]"), "unit quaternion"),
    "feather": (argoverse, "city_SE3_egovehicle.feather", cut, "not a Feather file, or truncated"),
    "feather pictures": (argoverse, "sensors/cameras/ring_front_center/315973157979879000.jpg", Path.unlink,
                         "within 50 ms of 315973157959879000 ns"),
    "array": (comma, "processed_log/CAN/speed/value", cut, "not a NumPy array, or truncated"),
    "array length": (comma, "processed_log/CAN/speed/value",
                     lambda path: save(path, np.zeros((8, 1))), r"wanted shape \(9, 1\), a row a time"),
    "array NaN": (comma, "processed_log/IMU/gyro/value",
                  lambda path: save(path, np.full((9, 3), np.nan)), r"gyro.value: row 0.*\(9 such rows\)"),
    "array times": (comma, "processed_log/IMU/gyro/t",
                    lambda path: save(path, 5 - 0.01 * np.arange(9)), "gyro.t: row 1: wanted a time not before"),
    "array pickle": (comma, "processed_log/IMU/gyro/t",
                     lambda path: save(path, np.array([{}])), "not a NumPy array"),
    "array missing": (comma, "global_pose/frame_times", Path.unlink, "without global_pose/frame_times"),
}  # fmt: skip


def read_all(layout, root, missing):
    if layout is kitti_object:
        return [driving.read_kitti_object(root, 7, missing=missing)]
    if layout is comma:
        return [driving.read_comma(root)]
    if layout is nuscenes:
        return list(driving.read_nuscenes(root, missing=missing)["scene-0001"])
    if layout is argoverse:
        return list(driving.read_argoverse(root, missing=missing))
    return list(driving.read_kitti_raw(root / DRIVE, cameras=("image_02",), missing=missing))


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused_by_name(tmp_path, name):
    layout, file, damage, message = DAMAGE[name]
    layout(tmp_path)
    if layout is kitti_raw:
        put(tmp_path / DRIVE / "velodyne_points/data/0000000001.bin", SWEEP.tobytes())
    read_all(layout, tmp_path, "raise")  # sound before the damage
    damage(tmp_path / file)
    with pytest.raises(DataError, match=r"(?s)" + message) as error:
        read_all(layout, tmp_path, "raise")
    assert Path(file).name in str(error.value) or Path(file).parent.name in str(error.value)


@pytest.mark.parametrize(
    ("name", "sweep", "camera"),
    [("empty sweep", 0, True), ("missing sweep", 0, True), ("NaN points", 1, True), ("missing camera", 2, False)],
)
def test_what_is_missing_can_be_left_out(tmp_path, name, sweep, camera):
    layout, file, damage, _ = DAMAGE[name]
    layout(tmp_path)
    damage(tmp_path / file)
    (frame,) = read_all(layout, tmp_path, "mask")
    assert (0 if frame.sweep is None else len(frame.sweep.points)) == sweep
    assert (frame.cameras["image_2"].image is not None) == camera


def test_folders_that_are_not_there():
    for read in (driving.read_kitti_raw, driving.read_argoverse, driving.read_nuscenes):
        with pytest.raises(MissingDataError, match="no such folder: wanted"):
            read("/nowhere")
    with pytest.raises(MissingDataError, match="commaai/comma2k19"):
        driving.read_comma("/nowhere")
