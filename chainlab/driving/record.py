"""The common record of a drive: what every data set is read into.

Units are SI (metres, seconds, radians) and frames are right-handed:

| frame | axes | origin |
|---|---|---|
| ego | x forward, y left, z up | the data set's own: the inertial unit (KITTI), the rear axle (nuScenes, Argoverse 2) |
| lidar | the sensor's own | the sensor |
| camera | x right, y down, z along the optical axis | the optical centre |
| global | z up | the data set's map |

A 4 x 4 matrix `b_from_a` takes homogeneous points of frame a to frame b, so that names chain:
`camera_from_ego @ ego_from_lidar`. Angles and rates turn from x to y: a positive yaw rate or steering angle is left.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from chainlab.data.batches import Origin
from chainlab.driving.checks import check_times
from chainlab.errors import UsageError

Missing: TypeAlias = Literal["raise", "mask"]
"""What a reader does about a sensor without data (no file, an empty sweep, points that are not finite): `raise` a
`DataError` that names it, or keep the frame and leave the sensor out, for `collate` to mask."""


@dataclass(frozen=True)
class Camera:
    """One picture and where it was taken from.

    Attributes:
        image: Red, green, blue; None where the camera gave no picture.
        intrinsics: Focal lengths and principal point, in pixels.
        camera_from_ego: From the ego frame at the frame's time to the camera at the picture's time.
        time: When the picture was taken, if known.
    """

    image: UInt8[np.ndarray, "height width 3"] | None
    intrinsics: Float[np.ndarray, "3 3"]
    camera_from_ego: Float[np.ndarray, "4 4"]
    time: float | None = None

    def resized(self, height: int, width: int) -> "Camera":
        """The camera with another resolution; its intrinsics are scaled with the picture.

        Args:
            height: New height in pixels.
            width: New width in pixels.

        Returns:
            The camera; one without a picture is refused.

        Raises:
            UsageError: There is no picture, whose size is unknown then.
        """
        from PIL import Image

        if self.image is None:
            raise UsageError("a camera without a picture cannot be resized: its size is unknown")
        scale = np.array([width / self.image.shape[1], height / self.image.shape[0], 1.0])
        # pixel centres lie at whole numbers: (u + 1/2) scales, not u
        shift = np.array([[0, 0, (scale[0] - 1) / 2], [0, 0, (scale[1] - 1) / 2], [0, 0, 0]])
        picture = Image.fromarray(self.image).resize((width, height), Image.Resampling.BOX)
        return Camera(np.asarray(picture), scale[:, None] * self.intrinsics + shift, self.camera_from_ego, self.time)


@dataclass(frozen=True)
class Sweep:
    """One turn of a LiDAR.

    Attributes:
        points: In the lidar frame.
        intensity: Of each return, in [0, 1].
        ego_from_lidar: Pose of the sensor; the identity where the data set gives points in the ego frame.
        ring: Beam of each return, where the data set says.
    """

    points: Float32[np.ndarray, "points 3"]
    intensity: Float32[np.ndarray, " points"]
    ego_from_lidar: Float[np.ndarray, "4 4"]
    ring: Int[np.ndarray, " points"] | None = None


@dataclass(frozen=True)
class Boxes:
    """Labelled objects, as upright boxes in the ego frame.

    Attributes:
        centre: Centre of each box.
        size: Length (along its heading), width, height.
        yaw: Heading about the ego z axis, 0 along x.
        category: The data set's own class names.
    """

    centre: Float[np.ndarray, "boxes 3"]
    size: Float[np.ndarray, "boxes 3"]
    yaw: Float[np.ndarray, " boxes"]
    category: tuple[str, ...]

    def corners(self) -> Float[np.ndarray, "boxes 8 3"]:
        """The corners: bottom then top, each counter-clockwise from the front left."""
        signs = np.array([[1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1]]) / 2
        offsets = np.concatenate([signs, signs * [1, 1, -1]]) * self.size[:, None]
        return self.centre[:, None] + offsets @ self._box_from_ego()

    def contains(self, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "boxes points"]:
        """Which points lie in which box; points are in the ego frame."""
        offsets = (points[None] - self.centre[:, None]) @ np.swapaxes(self._box_from_ego(), 1, 2)
        return np.all(np.abs(offsets) <= self.size[:, None] / 2, axis=-1)

    def _box_from_ego(self) -> Float[np.ndarray, "boxes 3 3"]:
        c, s, zero, one = np.cos(self.yaw), np.sin(self.yaw), np.zeros_like(self.yaw), np.ones_like(self.yaw)
        return np.stack([c, s, zero, -s, c, zero, zero, zero, one], axis=-1).reshape(-1, 3, 3)


@dataclass(frozen=True)
class Motion:
    """How the ego vehicle moved.

    Attributes:
        time: Strictly increasing.
        speed: Forward, m/s.
        acceleration: Forward, m/s^2.
        yaw_rate: rad/s, positive to the left.
        steering: Angle of the steering wheel in rad, positive to the left, where it was recorded.
        global_from_ego: Poses, where they are known.
    """

    time: Float[np.ndarray, " time"]
    speed: Float[np.ndarray, " time"]
    acceleration: Float[np.ndarray, " time"]
    yaw_rate: Float[np.ndarray, " time"]
    steering: Float[np.ndarray, " time"] | None = None
    global_from_ego: Float[np.ndarray, "time 4 4"] | None = None

    def __post_init__(self) -> None:
        check_times(self.time, "the ego motion")


class Signal(NamedTuple):
    """A sensor with its own clock; times never decrease, and several rows may share one.

    Attributes:
        time: Of each row.
        value: In SI units and the ego frame.
    """

    time: Float[np.ndarray, " rows"]
    value: Float[np.ndarray, "rows *channels"]


@dataclass(frozen=True)
class Frame:
    """Everything that was sensed at one time.

    Attributes:
        cameras: By the data set's names.
        sweep: The LiDAR's points; None where there is no LiDAR or it gave nothing.
        boxes: Labels, where there are any.
        time: In seconds on the data set's clock, if known.
        global_from_ego: Pose of the ego vehicle, if known.
    """

    cameras: Mapping[str, Camera]
    sweep: Sweep | None
    boxes: Boxes | None = None
    time: float | None = None
    global_from_ego: Float[np.ndarray, "4 4"] | None = None


@dataclass(frozen=True)
class Log:
    """A drive; `log[i]` reads frame i from disk, `len(log)` and iteration are a sequence's.

    Attributes:
        times: Of the frames.
        read: Reads the frame of an index.
        motion: Ego motion on a clock of its own.
        signals: Raw sensors by name (comma2k19).
        origin: Name, folder and licence.
    """

    times: Float[np.ndarray, " frames"]
    read: Callable[[int], Frame]
    motion: Motion | None
    origin: Origin
    signals: Mapping[str, Signal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_times(self.times, f"{self.origin.source}: its frames")

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: int) -> Frame:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.origin.source}: wanted a frame in 0..{len(self) - 1}, got {index}")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Frame]:
        return (self.read(index) for index in range(len(self)))
