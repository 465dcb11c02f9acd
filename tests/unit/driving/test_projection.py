import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from chainlab import driving
from chainlab.driving.checks import check_transform
from chainlab.driving.geometry import from_quaternion, yaw_of
from chainlab.errors import DataError

K = np.array([[100.0, 0.0, 50.0], [0.0, 120.0, 40.0], [0.0, 0.0, 1.0]])


@pytest.mark.slow
def test_se3_exp_against_scipy_and_its_derivative_at_zero(x64):
    twist = np.array([0.3, -1.1, 0.7, 1.0, 2.0, 3.0])
    got = driving.se3_exp(jnp.asarray(twist))
    np.testing.assert_allclose(got[:3, :3], Rotation.from_rotvec(twist[:3]).as_matrix(), atol=1e-12)
    # a screw: half the twist twice over is the whole
    half = driving.se3_exp(jnp.asarray(twist / 2))
    np.testing.assert_allclose(half @ half, got, atol=1e-12)
    np.testing.assert_allclose(driving.invert(got) @ got, np.eye(4), atol=1e-12)
    jacobian = jax.jacrev(driving.se3_exp)(jnp.zeros(6))
    for k in range(6):
        up, down = (driving.se3_exp(jnp.zeros(6).at[k].set(h)) for h in (1e-6, -1e-6))
        np.testing.assert_allclose(jacobian[..., k], (up - down) / 2e-6, atol=1e-9)


@pytest.mark.slow
def test_projection_and_its_gradient(x64):
    points = jnp.array([[1.0, 0.5, 10.0], [-2.0, 1.0, 4.0]])
    pose = driving.se3_exp(jnp.array([0.1, -0.2, 0.05, 0.3, 0.1, -0.2]))
    got = driving.project(points, pose, K)
    in_camera = np.asarray(points) @ np.asarray(pose[:3, :3]).T + np.asarray(pose[:3, 3])
    np.testing.assert_allclose(got.depth, in_camera[:, 2])
    np.testing.assert_allclose(got.pixels, [[100 * x / z + 50, 120 * y / z + 40] for x, y, z in in_camera])

    def u(twist):
        return driving.project(points, driving.se3_exp(twist) @ pose, K).pixels.sum()

    gradient = jax.grad(u)(jnp.zeros(6))
    for k in range(6):
        up, down = (u(jnp.zeros(6).at[k].set(h)) for h in (1e-6, -1e-6))
        np.testing.assert_allclose(gradient[k], (up - down) / 2e-6, rtol=1e-7)


def test_what_is_behind_the_camera_is_not_visible_and_has_finite_gradients():
    points = jnp.array([[0.0, 0.0, 5.0], [0.0, 0.0, -5.0], [0.0, 0.0, 0.0], [9.0, 0.0, 5.0]])
    got = driving.project(points, jnp.eye(4), K)
    assert got.visible(80, 100).tolist() == [True, False, False, False]
    gradient = jax.grad(lambda p: driving.project(p, jnp.eye(4), K).pixels.sum())(points)
    assert np.isfinite(gradient).all()


def test_resizing_a_camera_keeps_its_rays():
    image = np.zeros((80, 100, 3), np.uint8)
    camera = driving.Camera(image, K, np.eye(4))
    small = camera.resized(20, 50)
    assert small.image.shape == (20, 50, 3)
    point = np.array([1.0, -0.5, 10.0])
    u, v, _ = K @ point / point[2]
    got = small.intrinsics @ point / point[2]
    np.testing.assert_allclose(got[:2], [(u + 0.5) / 2 - 0.5, (v + 0.5) / 4 - 0.5])


def test_boxes_know_their_corners_and_points():
    boxes = driving.Boxes(np.array([[10.0, 0.0, 1.0]]), np.array([[4.0, 2.0, 1.5]]), np.array([np.pi / 2]), ("car",))
    (corners,) = boxes.corners()
    np.testing.assert_allclose(corners[0], [9.0, 2.0, 0.25])  # front left, heading along y
    np.testing.assert_allclose(corners[4:] - corners[:4], [[0, 0, 1.5]] * 4)
    inside = boxes.contains(np.array([[10.0, 1.9, 1.0], [11.9, 0.0, 1.0], [10.0, 0.0, 2.0]]))
    assert inside.tolist() == [[True, False, False]]
    turned = driving.Boxes(boxes.centre, boxes.size, np.array([0.5]), ("car",))
    along, across = np.array([np.cos(0.5), np.sin(0.5), 0]), np.array([np.cos(0.5), -np.sin(0.5), 0])
    assert turned.contains(boxes.centre + 1.9 * np.stack([along, across])).tolist() == [[True, False]]


def test_quaternions_and_what_is_no_rotation():
    wxyz = np.array([[np.cos(0.4), 0, 0, np.sin(0.4)]])
    pose = from_quaternion(wxyz, np.zeros((1, 3)), "pose")
    np.testing.assert_allclose(yaw_of(pose), [0.8])
    with pytest.raises(DataError, match="unit quaternion"):
        from_quaternion(2 * wxyz, np.zeros((1, 3)), "pose")
    with pytest.raises(DataError, match="unit quaternion"):
        from_quaternion(wxyz, np.full((1, 3), np.nan), "pose")
    for bad, message in (
        (np.diag([1.1, 1.0, 1.0, 1.0]), "R'R"),
        (np.diag([-1.0, 1.0, 1.0, 1.0]), "mirrored"),
        (np.full((4, 4), np.nan), "finite"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
    ):
        with pytest.raises(DataError, match=message):
            check_transform(bad, "calibration")


@pytest.mark.slow
def test_bilinear_reading_differentiates_in_both_arguments(x64):
    image = jax.random.normal(jax.random.key(0), (5, 6, 2))
    pixels = jnp.array([[1.3, 2.6], [4.9, 0.2]])
    value = lambda image, pixels: jnp.sum(driving.sample_image(image, pixels) ** 2)  # noqa: E731
    to_image, to_pixels = jax.grad(value, argnums=(0, 1))(image, pixels)
    h = jnp.zeros_like(pixels).at[0, 1].set(1e-6)
    np.testing.assert_allclose(to_pixels[0, 1], (value(image, pixels + h) - value(image, pixels - h)) / 2e-6, rtol=1e-7)
    h = jnp.zeros_like(image).at[2, 1, 0].set(1e-6)
    np.testing.assert_allclose(
        to_image[2, 1, 0], (value(image + h, pixels) - value(image - h, pixels)) / 2e-6, rtol=1e-7
    )


def test_motion_from_poses_of_a_known_turn():
    time = np.arange(0, 4, 0.1)
    radius, speed = 20.0, 5.0 + time  # accelerating by 1 m/s^2 around a circle to the left
    arc = 5 * time + time**2 / 2
    heading = arc / radius
    poses = np.stack([np.eye(4)] * len(time))
    poses[:, :3, :3] = Rotation.from_euler("z", heading[:, None]).as_matrix()
    poses[:, 0, 3], poses[:, 1, 3] = radius * np.sin(heading), radius * (1 - np.cos(heading))
    twice = np.sort(np.concatenate([time, time + 1e-9]))  # two sensors' stamps of one moment
    motion = driving.motion_from_poses(twice, np.repeat(poses, 2, axis=0), interval=0.1)
    assert len(motion.time) == len(time)
    inner = slice(2, -2)
    np.testing.assert_allclose(motion.speed[inner], speed[inner], rtol=2e-3)
    np.testing.assert_allclose(motion.acceleration[inner], 1.0, atol=0.02)
    np.testing.assert_allclose(motion.yaw_rate[inner], speed[inner] / radius, rtol=2e-3)
    with pytest.raises(DataError, match="at least three poses"):
        driving.motion_from_poses(time[:2], poses[:2])
