"""What goes wrong with weather and sensors: one vector of numbers, so that one compiled program serves every case."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.typing import PRNGKey

Number = float | Float[Array, "*batch"]


class Condition(NamedTuple):
    """Weather and sensor faults; all zero is a clear day with sound sensors.

    Attributes:
        fog: Extinction, 1/m.
        night: 0 day to 1 night.
        rain: 0 dry to 1 heavy.
        camera_noise: Standard deviation added to every pixel.
        black: 1 for a camera that delivers black frames.
        frozen: Age of the one frame that a frozen camera repeats, s; 0 is live.
        miscalibration: Yaw of the camera that its calibration does not know, rad.
        lidar_dropout: Probability that a beam returns nothing.
        lidar_empty: 1 for a LiDAR that returns nothing at all.
        skew: How much older the LiDAR sweep is than the camera frame, s.
        white: 1 for a camera that is blinded to white.
        mud: Opacity of dirt on the left half of the lens.
        speckle: Probability that a pixel is stuck at black or white.
        sector: 1 for a LiDAR that has lost its left half.
        ghosts: Probability that a beam returns a random range.
    """

    fog: Number = 0.0
    night: Number = 0.0
    rain: Number = 0.0
    camera_noise: Number = 0.0
    black: Number = 0.0
    frozen: Number = 0.0
    miscalibration: Number = 0.0
    lidar_dropout: Number = 0.0
    lidar_empty: Number = 0.0
    skew: Number = 0.0
    white: Number = 0.0
    mud: Number = 0.0
    speckle: Number = 0.0
    sector: Number = 0.0
    ghosts: Number = 0.0


CONDITIONS = {
    "clear": Condition(),
    "fog": Condition(fog=0.08),
    "night": Condition(night=1.0),
    "rain": Condition(rain=1.0),
    "camera_black": Condition(black=1.0),
    "camera_frozen": Condition(frozen=1.5),
    "lidar_dropout": Condition(lidar_dropout=0.8),
    "lidar_empty": Condition(lidar_empty=1.0),
    "miscalibrated": Condition(miscalibration=math.radians(2)),
    "skewed": Condition(skew=0.2),
}
"""The conditions that training draws from (`training_condition`), each at the strength it is judged at."""

UNSEEN = {
    "camera_white": Condition(white=1.0),
    "camera_mud": Condition(mud=1.0),
    "camera_speckle": Condition(speckle=0.3),
    "lidar_sector": Condition(sector=1.0),
    "lidar_ghosts": Condition(ghosts=0.3),
    "miscalibrated_6": Condition(miscalibration=math.radians(6)),
    "skewed_500": Condition(skew=0.5),
    "night_in_fog_lidar_empty": Condition(night=1.0, fog=0.08, lidar_empty=1.0),
}
"""Failures that no training state has."""


def condition(name: str) -> Condition:
    """A condition by name, as arrays.

    Args:
        name: A key of `CONDITIONS` or `UNSEEN`.

    Returns:
        The condition.

    Raises:
        UsageError: There is no such condition.

    Example:
        >>> float(condition("night").night)
        1.0
    """
    known = {**CONDITIONS, **UNSEEN}
    if name not in known:
        raise UsageError(f"no condition {name!r}: there are {', '.join(known)}")
    return jax.tree.map(jnp.asarray, known[name])


def training_condition(key: PRNGKey) -> Condition:
    """Draw a condition to train on: weather, then independent faults of either sensor.

    Weather is clear (40 %), fog, night or rain (20 % each), of random strength. The camera is black (9 %), frozen
    (9 %) or noisy (9 %), and turned by up to 3 degrees (20 %); the LiDAR is empty (10 %) or loses 30 to 95 % of
    its beams (15 %), and lags by up to 0.3 s (15 %). Both sensors may fail at once, as they do on a road.

    Args:
        key: Randomness.

    Returns:
        The condition.
    """
    keys = jax.random.split(key, 8)
    weather, camera, lidar, turned, late = jax.random.uniform(keys[0], (5,))
    strength = jax.random.uniform(keys[1], (), minval=0.3)
    yes = lambda low, value, high: ((value >= low) & (value < high)).astype(weather.dtype)  # noqa: E731
    draw = lambda index, low, high: jax.random.uniform(keys[index], (), minval=low, maxval=high)  # noqa: E731
    zero = jnp.zeros(())
    return Condition(
        fog=yes(0.4, weather, 0.6) * 0.12 * strength,
        night=yes(0.6, weather, 0.8) * jnp.minimum(1.5 * strength, 1.0),
        rain=yes(0.8, weather, 1.0) * jnp.minimum(1.3 * strength, 1.0),
        camera_noise=yes(0.18, camera, 0.27) * draw(2, 0.05, 0.3),
        black=yes(0.0, camera, 0.09),
        frozen=yes(0.09, camera, 0.18) * draw(3, 0.5, 3.0),
        miscalibration=yes(0.0, turned, 0.2) * draw(4, -1.0, 1.0) * math.radians(3),
        lidar_dropout=yes(0.1, lidar, 0.25) * draw(5, 0.3, 0.95),
        lidar_empty=yes(0.0, lidar, 0.1),
        skew=yes(0.0, late, 0.15) * draw(6, 0.0, 0.3),
        white=zero,
        mud=zero,
        speckle=zero,
        sector=zero,
        ghosts=zero,
    )


def health(condition: Condition) -> Float[Array, "2"]:
    """How much of the camera and of the LiDAR is to be trusted in a condition: 1 sound, 0 dead.

    Args:
        condition: The condition.

    Returns:
        Camera and LiDAR; what the health estimate is trained on.
    """
    stale = jnp.where(jnp.asarray(condition.frozen) > 0, 1.0, 0.0)
    camera = (1 - condition.black) * (1 - condition.white) * (1 - stale)
    lidar = (1 - condition.lidar_empty) * (1 - condition.lidar_dropout)
    return jnp.stack([jnp.asarray(camera), jnp.asarray(lidar)])
