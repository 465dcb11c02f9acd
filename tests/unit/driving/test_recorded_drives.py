"""Readers, projection and calibration on real frames: independent labels say whether frames and signs are right."""

import json
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from chainlab import driving

NUSCENES = "nuscenes/n015-2018-07-24-11-22-45+0800.json"
KITTI = "kitti_object/000008.json"


def recorded(name):
    roots = [Path(root) for root in os.environ.get("CHAINLAB_DATA", "").split(os.pathsep) if root]
    roots += [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / "driving" / name).exists():
            return root / "driving" / name
    pytest.skip(f"driving/{name} is not in $CHAINLAB_DATA or beside the checkout")


def points_ego(frame):
    return driving.transform(frame.sweep.ego_from_lidar, frame.sweep.points.astype(float))


def pixels_of(camera, points):
    with jax.enable_x64(True):
        return np.asarray(driving.project(points, camera.camera_from_ego, camera.intrinsics).pixels)


def test_kitti_boxes_fall_on_the_rectangles_that_were_drawn_by_hand():
    path = recorded(KITTI)
    frame = driving.read_mmdetection3d(path)
    labels = [each for each in json.loads(path.read_text())["data_list"][0]["instances"] if each["bbox_label"] >= 0]
    assert len(frame.boxes.category) == len(labels) == 6
    pixels = pixels_of(frame.cameras["CAM2"], frame.boxes.corners())
    got = np.concatenate([pixels.min(1), pixels.max(1)], axis=-1).clip(0, [1242, 375] * 2)
    np.testing.assert_allclose(got, [each["bbox"] for each in labels], atol=2.5)
    counted = frame.boxes.contains(points_ego(frame)).sum(1)
    np.testing.assert_allclose(counted, [each["num_lidar_pts"] for each in labels], rtol=0.1)


def test_kitti_points_fall_where_the_published_matrix_says():
    path = recorded(KITTI)
    frame = driving.read_mmdetection3d(path)
    lidar2img = np.array(json.loads(path.read_text())["data_list"][0]["images"]["CAM2"]["lidar2img"])
    got = pixels_of(frame.cameras["CAM2"], points_ego(frame))
    wanted = np.c_[frame.sweep.points, np.ones(len(frame.sweep.points))] @ lidar2img.T
    ahead = wanted[:, 2] > 1
    np.testing.assert_allclose(got[ahead], (wanted[:, :2] / wanted[:, 2:3])[ahead], atol=1e-3)


def test_nuscenes_boxes_hold_their_points_and_fall_on_their_pixels():
    path = recorded(NUSCENES)
    frame = driving.read_mmdetection3d(path)
    info = json.loads(path.read_text())["data_list"][0]
    wanted = np.array([each["num_lidar_pts"] for each in info["instances"]])
    counted = frame.boxes.contains(points_ego(frame)).sum(1)
    assert np.mean(counted == wanted) > 0.85
    np.testing.assert_allclose(counted, wanted, atol=2, rtol=0.05)
    for name, seen in info["cam_instances"].items():
        got = pixels_of(frame.cameras[name], frame.boxes.centre)
        for each in seen:  # every labelled centre is one of the projected ones
            assert np.abs(got - each["center_2d"]).max(-1).min() < 0.1, name
    assert frame.sweep.intensity.max() <= 1
    assert frame.sweep.ring.max() == 31


def test_argoverse_boxes_hold_as_many_points_as_their_labels_say():
    pyarrow = pytest.importorskip("pyarrow.feather")
    (folder,) = (each for each in recorded("argoverse2").iterdir() if each.is_dir())
    log = driving.read_argoverse(folder)
    frame = log[0]
    table = pyarrow.read_table(folder / "annotations.feather")
    here = table["timestamp_ns"].to_numpy() == round(log.times[0] * 1e9 / 1e3) * 1000
    wanted = table["num_interior_pts"].to_numpy()[here]
    assert len(wanted) == 47
    assert frame.boxes.contains(frame.sweep.points.astype(float)).sum(1).tolist() == wanted.tolist()
    assert frame.cameras == {}
    assert log.motion.speed.min() + 0.05 >= 0
    assert 4 < log.motion.speed.max() < 6


def test_comma_sensors_agree_with_each_other():
    log = driving.read_comma(recorded("comma2k19/Example_1_seg40"))
    sensors = driving.motion_sensors(log, log.times)
    seen = np.isfinite(sensors.wheel_speed)
    assert seen.sum() >= 1199
    assert np.abs(sensors.wheel_speed - log.motion.speed)[seen].mean() < 0.2  # wheels against satellites
    assert np.nanmean(sensors.acceleration[:, 2]) == pytest.approx(9.81, abs=0.3)  # z is up
    assert np.corrcoef(log.motion.yaw_rate, log.motion.steering)[0, 1] > 0.6  # both positive to the left
    assert log.signals["radar"].value.shape[1] == 5


def angle(a, b):
    return np.degrees(np.linalg.norm(Rotation.from_matrix(np.asarray(a @ b, float)[:3, :3]).as_rotvec()))


@pytest.mark.slow
def test_two_degrees_are_recovered_from_boxes_and_hand_drawn_rectangles():
    """No target and no synthetic pixel: labelled boxes in the LiDAR, labelled rectangles in the picture."""
    path = recorded(KITTI)
    frame = driving.read_mmdetection3d(path)
    labels = [each for each in json.loads(path.read_text())["data_list"][0]["instances"] if each["bbox_label"] >= 0]
    drawn = jnp.array([each["bbox"] for each in labels], jnp.float32)
    camera = frame.cameras["CAM2"]
    height, width = camera.image.shape[:2]
    # a side at the border says where the object was cut, not where it ends
    inside = (drawn > 2) & (drawn < jnp.array([[width, height] * 2], jnp.float32) - 3)
    corners = jnp.asarray(frame.boxes.corners(), jnp.float32)

    def loss(camera_from_ego):
        pixels = driving.project(corners, camera_from_ego, camera.intrinsics).pixels
        bounds = jnp.concatenate([pixels.min(1), pixels.max(1)], axis=-1)
        return jnp.mean(jnp.sqrt(1 + jnp.square(bounds - drawn)), where=inside)

    truth = camera.camera_from_ego.astype(np.float32)
    refine = jax.jit(lambda start: driving.refine_extrinsics(loss, start, steps=400, translation=False).extrinsics)
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(5):
        axis = rng.normal(size=3)
        turn = np.concatenate([np.radians(2) * axis / np.linalg.norm(axis), np.zeros(3)])
        start = driving.se3_exp(jnp.asarray(turn, jnp.float32)) @ truth
        assert angle(start, driving.invert(truth)) == pytest.approx(2, abs=1e-3)
        errors.append(angle(refine(start), driving.invert(truth)))
    assert max(errors) < 0.2, errors


@pytest.mark.slow
def test_edges_alone_bring_six_cameras_back_from_two_degrees():
    frame = driving.read_mmdetection3d(recorded(NUSCENES))
    sweep = frame.sweep
    order = np.argsort(sweep.ring, kind="stable")
    near = np.linalg.norm(sweep.points, axis=1)[order] < 2.5  # the vehicle's own roof
    scans = np.split(sweep.points[order], np.flatnonzero(np.diff(sweep.ring[order])) + 1)
    weights = np.where(near, 0, np.concatenate(driving.depth_edges(scans))).astype(np.float32)
    points, weights = sweep.points[order][weights > 0], weights[weights > 0]
    truth = sweep.ego_from_lidar.astype(np.float32)
    found = jnp.asarray(driving.se3_exp(jnp.array([0.02, -0.02, 0.0204, 0, 0, 0]))) @ truth
    assert angle(found, driving.invert(truth)) == pytest.approx(2, abs=0.02)
    for blur in (8.0, 4.0, 2.0):
        losses = [
            driving.edge_alignment_loss(
                points, weights, driving.image_edges(camera.image.mean(-1), blur=blur), camera.intrinsics
            )
            for camera in frame.cameras.values()
        ]
        poses = [camera.camera_from_ego.astype(np.float32) for camera in frame.cameras.values()]
        found = driving.refine_extrinsics(
            lambda ego_from_lidar: sum(loss(pose @ ego_from_lidar) for loss, pose in zip(losses, poses, strict=True)),  # noqa: B023
            found,
            steps=60,
            translation=False,
        ).extrinsics
    # all starts end in one place, 0.3 degrees of roll from the published calibration; yaw and pitch are within 0.1
    assert angle(found, driving.invert(truth)) < 0.45


@pytest.mark.slow
def test_pictures_show_the_points_of_a_real_frame():
    frame = driving.read_mmdetection3d(recorded(KITTI))
    (axes, *_) = driving.camera_overlay(frame, "CAM2").axes
    (points,) = axes.collections
    assert len(points.get_offsets()) > 15_000
    assert len(axes.lines) >= 5 * 6  # five boxes are wholly in front of the camera
    above = driving.birds_eye(frame).axes[0]
    assert len(above.collections[0].get_offsets()) == len(frame.sweep.points)


@pytest.mark.slow
def test_the_how_to_page_runs(monkeypatch, tmp_path):
    page = Path(__file__).parents[3] / "docs" / "howto" / "driving-data.md"
    for name in ("kitti_object", "nuscenes", "argoverse2", "comma2k19"):
        (tmp_path / name).symlink_to(recorded(name))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    names = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(compile(block, page.name, "exec"), names)
    assert (tmp_path / "overlay.png").is_file()
    assert names["found"].losses[-1] < 1e-3 * names["found"].losses[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["gradient"]))
