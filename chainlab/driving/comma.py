"""comma2k19: a minute of highway driving, from its NumPy arrays.

References:
    Schafer et al., A commute in data: the comma2k19 dataset, arXiv:1812.05752. The data is MIT.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from chainlab.data.batches import Origin
from chainlab.data.locate import locate
from chainlab.driving.checks import check_finite, check_times
from chainlab.driving.record import Frame, Log, Motion, Signal
from chainlab.errors import DataError

_FLIP = np.array([1.0, -1.0, -1.0])  # forward, right, down to forward, left, up
_SIGNALS = {  # name here: folder in the segment, channels, factor to SI and the ego frame
    "speed": ("processed_log/CAN/speed", 1, 1.0),
    "steering": ("processed_log/CAN/steering_angle", 1, np.pi / 180),
    "wheel_speed": ("processed_log/CAN/wheel_speed", 4, 1.0),
    "acceleration": ("processed_log/IMU/accelerometer", 3, _FLIP),
    "angular_velocity": ("processed_log/IMU/gyro", 3, _FLIP),
}
_POSE = "global_pose/frame_times", "global_pose/frame_velocities"
_FILES = tuple(f"{folder}/{name}" for folder, _, _ in _SIGNALS.values() for name in ("t", "value")) + _POSE


class MotionSensors(NamedTuple):
    """What a vehicle feels of its own motion, on one clock; a reading that is not there is NaN.

    Attributes:
        acceleration: Specific force in the ego frame (at rest: 9.81 upwards), m/s^2.
        angular_velocity: In the ego frame, rad/s.
        wheel_speed: Mean of the wheels, m/s.
        steering: Angle of the steering wheel, rad, positive to the left.
    """

    acceleration: Float[np.ndarray, "time 3"]
    angular_velocity: Float[np.ndarray, "time 3"]
    wheel_speed: Float[np.ndarray, " time"]
    steering: Float[np.ndarray, " time"]


def read_comma(segment: str | Path = "driving/comma2k19/Example_1_seg40") -> Log:
    """Read a segment; its video is not read.

    `motion` is on the clock of the video's frames: speed and acceleration from the global pose (an optimiser over
    inertial, satellite and image data, which knows nothing of the CAN bus), yaw rate from the gyroscope, steering
    from the CAN bus. `signals` holds the sensors on their own clocks: `speed`, `steering`, `wheel_speed` (front
    left, front right, rear left, rear right), `acceleration`, `angular_velocity` and, if recorded, `radar`
    (distance forward, left, relative speed, address, whether the track is new).

    Args:
        segment: The segment's folder, with `processed_log/` and `global_pose/`; a folder of `$CHAINLAB_DATA` where
            there is none of that path.

    Returns:
        The segment.

    Raises:
        MissingDataError: A file is missing.
        DataError: A file is truncated, of another shape or not finite, or times run backwards.
    """
    path = segment if Path(segment).expanduser().is_dir() else None
    files = locate(str(segment), _FILES, path=path, how="https://github.com/commaai/comma2k19 (MIT)")
    root = files[-1].parents[1]
    signals = {key: _signal(root / folder, channels, factor) for key, (folder, channels, factor) in _SIGNALS.items()}
    if (root / "processed_log/CAN/radar/t").is_file():
        radar = _signal(root / "processed_log/CAN/radar", 7, 1.0, keep=[0, 1, 2, 5, 6])
        signals["radar"] = radar
    times = _array(files[-2], 1)
    check_times(times, str(files[-2]))
    velocity = _array(files[-1], 2)
    if velocity.shape != (len(times), 3):
        raise DataError(f"{files[-1]}: wanted shape ({len(times)}, 3), a row a frame, got {velocity.shape}")
    check_finite(velocity, str(files[-1]))
    speed = np.linalg.norm(velocity, axis=-1)
    motion = Motion(
        times,
        speed,
        np.gradient(speed, times),
        np.interp(times, signals["angular_velocity"].time, signals["angular_velocity"].value[:, 2]),
        np.interp(times, signals["steering"].time, signals["steering"].value[:, 0]),
    )
    origin = Origin("comma2k19", str(root), licence="MIT")
    return Log(times, lambda index: Frame({}, None, time=float(times[index])), motion, origin, signals)


def motion_sensors(log: Log, times: Float[np.ndarray, " time"], *, window: float = 0.05) -> MotionSensors:
    """Bring the sensors of a comma2k19 log to one clock: at each time, the mean over the window before it.

    Nothing later than a time enters its row.

    Args:
        log: What `read_comma` returned.
        times: The clock.
        window: Length of the window in seconds.

    Returns:
        The readings; NaN where a window holds none.
    """
    return MotionSensors(
        _mean_before(log.signals["acceleration"], times, window),
        _mean_before(log.signals["angular_velocity"], times, window),
        _mean_before(log.signals["wheel_speed"], times, window).mean(axis=-1),
        _mean_before(log.signals["steering"], times, window, last=True)[:, 0],
    )


def _mean_before(
    signal: Signal, times: Float[np.ndarray, " time"], window: float, *, last: bool = False
) -> Float[np.ndarray, "time channels"]:
    """Mean (or last) of the rows in (time - window, time]."""
    end = np.searchsorted(signal.time, times, side="right")
    start = np.searchsorted(signal.time, times - window, side="right")
    if last:
        start = np.maximum(start, end - 1)
    sums = np.concatenate([np.zeros((1, signal.value.shape[1])), np.cumsum(signal.value, axis=0)])
    count = (end - start)[:, None]
    return np.where(count > 0, (sums[end] - sums[start]) / np.maximum(count, 1), np.nan)


def _signal(folder: Path, channels: int, factor: float | np.ndarray, keep: list[int] | None = None) -> Signal:
    time, value = _array(folder / "t", 1), _array(folder / "value", 0)
    check_times(time, str(folder / "t"), ties=True)
    if value.size != len(time) * channels:
        wanted = f"({len(time)}, {channels})"
        raise DataError(f"{folder / 'value'}: wanted shape {wanted}, a row a time, got {value.shape}")
    value = value.reshape(len(time), channels)[:, keep or slice(None)]
    check_finite(value, str(folder / "value"))
    return Signal(time, value * factor)


def _array(path: Path, axes: int) -> Float[np.ndarray, "..."]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not a NumPy array, or truncated: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or (axes and array.ndim != axes):
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{path}: wanted numbers{f' along {axes} axes' if axes else ''}, got {got}")
    return array.astype(float)
