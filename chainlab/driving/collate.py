"""From frames to arrays of fixed shape, with masks for what is not there."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainlab.driving.geometry import transform
from chainlab.driving.record import Frame
from chainlab.errors import UsageError


def collate(
    frames: Sequence[Frame], cameras: Sequence[str], *, points: int, size: tuple[int, int], seed: int = 0
) -> dict[str, Any]:
    """Stack frames for a network.

    What is not there is zero *and* marked so: a network must look at the mask, and no zero stands for a measurement.

    Args:
        frames: The frames.
        cameras: Names of the cameras, in the order of the `cameras` axis.
        points: Points a frame: more are thinned at random, fewer are padded.
        size: Height and width that pictures are resized to; intrinsics follow.
        seed: Draws which points are kept.

    Returns:
        `images` uint8 (frames, cameras, height, width, 3), `image_mask` (frames, cameras), `intrinsics` (frames,
        cameras, 3, 3), `camera_from_ego` (frames, cameras, 4, 4), `points` (frames, points, 3) in the ego frame,
        `intensity` (frames, points), `point_mask` (frames, points); floats are float32.

    Raises:
        UsageError: There are no frames, or a frame does not know one of the cameras (one that gave no picture is
            known).
    """
    if not frames:
        raise UsageError("collate needs at least one frame, got none")
    generator = np.random.default_rng(seed)
    count, height, width = len(cameras), *size
    batch = {
        "images": np.zeros((len(frames), count, height, width, 3), np.uint8),
        "image_mask": np.zeros((len(frames), count), bool),
        "intrinsics": np.zeros((len(frames), count, 3, 3), np.float32),
        "camera_from_ego": np.zeros((len(frames), count, 4, 4), np.float32),
        "points": np.zeros((len(frames), points, 3), np.float32),
        "intensity": np.zeros((len(frames), points), np.float32),
        "point_mask": np.zeros((len(frames), points), bool),
    }
    for row, frame in enumerate(frames):
        for column, name in enumerate(cameras):
            if name not in frame.cameras:
                known = ", ".join(frame.cameras) or "no cameras"
                raise UsageError(f"frame {row} has no camera {name!r}: it has {known}")
            camera = frame.cameras[name]
            if camera.image is not None:
                camera = camera.resized(height, width)
                batch["images"][row, column] = np.asarray(camera.image)
                batch["image_mask"][row, column] = True
            batch["intrinsics"][row, column] = camera.intrinsics
            batch["camera_from_ego"][row, column] = camera.camera_from_ego
        if frame.sweep is not None:
            total = len(frame.sweep.points)
            chosen = np.sort(generator.choice(total, points, replace=False)) if total > points else np.arange(total)
            kept = slice(0, len(chosen))
            batch["points"][row, kept] = transform(frame.sweep.ego_from_lidar, frame.sweep.points[chosen])
            batch["intensity"][row, kept] = frame.sweep.intensity[chosen]
            batch["point_mask"][row, kept] = True
    return batch
