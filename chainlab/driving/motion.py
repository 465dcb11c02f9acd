"""Ego motion from poses, for logs that record no speeds."""

import numpy as np
from jaxtyping import Float

from chainlab.driving.geometry import invert
from chainlab.driving.record import Motion
from chainlab.errors import DataError


def motion_from_poses(
    time: Float[np.ndarray, " time"], global_from_ego: Float[np.ndarray, "time 4 4"], *, interval: float = 0.05
) -> Motion:
    """Forward speed, acceleration and yaw rate by central differences of poses.

    Args:
        time: Increasing.
        global_from_ego: The pose at each time.
        interval: Poses nearer than this to the last one kept (two sensors' stamps of one moment) are left out, since
            differences over them are noise.

    Returns:
        The motion at the times kept.

    Raises:
        DataError: Fewer than three poses are left.
    """
    from scipy.spatial.transform import Rotation

    kept = [0]
    for index in range(1, len(time)):
        if time[index] - time[kept[-1]] >= interval * (1 - 1e-6):
            kept.append(index)
    if len(kept) < 3:
        raise DataError(f"ego motion needs at least three poses {interval} s apart, got {len(kept)} of {len(time)}")
    time, poses = time[kept], global_from_ego[kept]
    velocity = np.gradient(poses[:, :3, 3], time, axis=0)
    speed = np.einsum("ti,ti->t", velocity, poses[:, :3, 0])  # along the ego x axis
    turns = Rotation.from_matrix((invert(poses[:-1]) @ poses[1:])[:, :3, :3]).as_rotvec()[:, 2]
    yaw_rate = np.gradient(np.concatenate([[0.0], np.cumsum(turns)]), time)
    return Motion(time, speed, np.gradient(speed, time), yaw_rate, global_from_ego=poses)
