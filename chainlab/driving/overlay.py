"""Pictures of recorded frames: LiDAR and boxes over the camera, and from above."""

from typing import TYPE_CHECKING

import numpy as np

from chainlab.driving.geometry import transform
from chainlab.driving.projection import project
from chainlab.driving.record import Boxes, Frame
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FARTHEST = 50.0  # m, the end of the colour scale
_LOOPS = ([0, 1, 2, 3, 0], [4, 5, 6, 7, 4], [0, 4], [1, 5], [2, 6], [3, 7])  # edges of a box, by its corners


def camera_overlay(frame: Frame, camera: str) -> "Figure":
    """A picture with the LiDAR's points on it, coloured by depth, and the labelled boxes.

    Points that lie on what is seen show that calibration, frames and times fit together.

    Args:
        frame: A frame with that camera's picture.
        camera: Which camera.

    Returns:
        A figure.

    Raises:
        UsageError: The frame has no such camera, or no picture of it.
    """
    from matplotlib.figure import Figure

    if camera not in frame.cameras:
        raise UsageError(f"the frame has no camera {camera!r}: wanted one of {', '.join(frame.cameras) or 'none'}")
    view = frame.cameras[camera]
    if view.image is None:
        raise UsageError(f"camera {camera!r} gave no picture to draw on")
    height, width = view.image.shape[:2]
    figure = Figure(figsize=(9, 9 * height / width + 0.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(view.image)
    if frame.sweep is not None:
        camera_from_lidar = view.camera_from_ego @ frame.sweep.ego_from_lidar
        projected = project(
            frame.sweep.points, camera_from_lidar.astype(np.float32), view.intrinsics.astype(np.float32)
        )
        seen = np.asarray(projected.visible(height, width))
        u, v = np.asarray(projected.pixels)[seen].T
        near_last = np.argsort(-np.asarray(projected.depth)[seen])
        colours = np.asarray(projected.depth)[seen][near_last]
        drawn = axes.scatter(
            u[near_last], v[near_last], 3, colours, cmap="turbo_r", vmin=0, vmax=_FARTHEST, linewidths=0
        )
        figure.colorbar(drawn, ax=axes, label="depth / m", fraction=0.02, pad=0.01)
    if frame.boxes is not None:
        _draw_boxes(axes, frame.boxes, view.camera_from_ego, view.intrinsics)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure


def _draw_boxes(axes: "Axes", boxes: Boxes, camera_from_ego: np.ndarray, intrinsics: np.ndarray) -> None:
    for corners in transform(camera_from_ego, boxes.corners()):
        if corners[:, 2].min() > 0.5:  # wholly in front of the camera
            scaled = corners @ intrinsics.T
            pixels = scaled[:, :2] / scaled[:, 2:]
            for loop in _LOOPS:
                axes.plot(*pixels[loop].T, color="white", linewidth=0.8)


def birds_eye(frame: Frame, *, reach: float = 40.0) -> "Figure":
    """The LiDAR's points and the boxes from above, the ego vehicle at the origin and heading up.

    Args:
        frame: A frame.
        reach: Half the side of the square shown, in metres.

    Returns:
        A figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    if frame.sweep is not None:
        points = transform(frame.sweep.ego_from_lidar, frame.sweep.points)
        axes.scatter(-points[:, 1], points[:, 0], 0.5, points[:, 2], cmap="viridis", vmin=-2, vmax=3, linewidths=0)
    if frame.boxes is not None:
        for corners in frame.boxes.corners():
            x, y, _ = corners[_LOOPS[0]].T
            axes.plot(-y, x, color="#e0762f", linewidth=1)
    axes.plot([0], [0], marker="^", color="#c2477f")
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="right / m", ylabel="forward / m", aspect="equal")
    return figure
