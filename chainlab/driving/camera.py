r"""A forward camera by ray casting.

A static table holds where each pixel's ray meets the ground. The road's centre is found on each image row by Newton's
method; paint and road edge are rational functions of the lateral distance, as wide as a pixel's footprint, so that the
picture is smooth in everything that makes it. Cars are the rays' hits on their rear planes, painted far to near.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from chainlab.driving.conditions import Condition
from chainlab.driving.noise import hashed, seed_of
from chainlab.driving.road import LANE_WIDTH, Road, centre
from chainlab.driving.traffic import HEIGHT, LENGTH, WIDTH, Cars
from chainlab.driving.vehicle import Vehicle, into_frame
from chainlab.typing import PRNGKey

_GRASS, _ASPHALT, _PAINT, _SKY, _AIR = 0.45, 0.25, 0.95, 0.75, 0.8
_LINE = 0.15  # width of a line, m
_DASH = 9.0  # period of the dashed line, m


class PinholeCamera(NamedTuple):
    """A pinhole camera that looks along the vehicle's axis.

    Attributes:
        rows: Pixels.
        columns: Pixels.
        focal: Pixels.
        horizon: Row of the horizon, in pixels from the top.
        height: Above the ground, m.
        forward: Ahead of the rear axle, m.
    """

    rows: int = 32
    columns: int = 80
    focal: float = 50.0
    horizon: float = 10.0
    height: float = 1.4
    forward: float = 1.5

    @property
    def intrinsics(self) -> np.ndarray:
        """Focal lengths and principal point in pixels, (3, 3); the centre of the first pixel is (0, 0)."""
        column, row = self.columns / 2 - 0.5, self.horizon - 0.5
        return np.array([[self.focal, 0, column], [0, self.focal, row], [0, 0, 1]], np.float32)

    @property
    def camera_from_vehicle(self) -> np.ndarray:
        """From forward, left and up to right, down and ahead, m, (4, 4)."""
        rows = [[0, -1, 0, 0], [0, 0, -1, self.height], [1, 0, 0, -self.forward], [0, 0, 0, 1]]
        return np.array(rows, np.float32)


CAMERA = PinholeCamera()


class _Rays(NamedTuple):
    """Where rays meet the ground, in the camera's frame; constants of a camera."""

    row: Array  # of each row's centre, from the horizon down, pixels
    column: Array  # of each column's centre, from the middle to the right, pixels
    ground: Array  # (rows, 1): 1 below the horizon
    forward: Array  # (rows,) m; 1e3 above the horizon
    left: Array  # (rows, columns) m
    beam: Array  # (rows, columns) what the headlights give
    mud: Array  # (rows, columns)


def _rays(camera: PinholeCamera, dtype: DTypeLike) -> _Rays:
    row = np.arange(camera.rows) + 0.5 - camera.horizon
    column = np.arange(camera.columns) + 0.5 - camera.columns / 2
    below = row > 0
    forward = np.where(below, camera.height * camera.focal / np.where(below, row, 1.0), 1e3)
    left = np.where(below[:, None], -column[None, :] / camera.focal * forward[:, None], 0.0)
    reach = 1 / (1 + (forward / 25) ** 2)
    beam = reach[:, None] / (1 + (left / (2 + 0.35 * forward[:, None])) ** 2)
    mud = np.broadcast_to(1 / (1 + np.exp((column[None, :] + 6 * np.sin(row[:, None])) / 2)), left.shape)
    return _Rays(*(jnp.asarray(t, dtype) for t in (row, column, below[:, None], forward, left, beam, mud)))


def _edge(z: Array) -> Array:
    """A smooth step from 0 to 1 without a transcendental."""
    return 0.5 + 0.5 * z * jax.lax.rsqrt(1 + z * z)


def render(
    road: Road, ego: Vehicle, cars: Cars, condition: Condition, key: PRNGKey, camera: PinholeCamera = CAMERA
) -> Float[Array, "rows columns"]:
    r"""A grey picture of the scene.

    Haze follows Koschmieder's law, $c = a + (c_0 - a) e^{-\beta d}$; at night the scene is lit by the headlights and
    cars show their lamps.

    Args:
        road: The road.
        ego: The vehicle that carries the camera.
        cars: The other cars.
        condition: Weather and faults of the camera (all but `frozen`, which is a matter of time).
        key: Randomness of the noise.
        camera: The camera.

    Returns:
        Brightness, 0 black to 1 white up to noise; row 0 is the top, column 0 the left.

    References:
        Koschmieder, Theorie der horizontalen Sichtweite, 1924.
    """
    dtype = ego.x.dtype
    condition = Condition(*(jnp.asarray(number, dtype) for number in condition))
    rays, dark = _rays(camera, dtype), jnp.asarray(condition.night)
    haze = jnp.asarray(condition.fog + 0.015 * condition.rain)
    eye = ego._replace(
        x=ego.x + camera.forward * jnp.cos(ego.heading),
        y=ego.y + camera.forward * jnp.sin(ego.heading),
        heading=ego.heading + condition.miscalibration,
    )
    air = _AIR * (1 - dark) + 0.1 * dark
    image = _ground(road, eye, condition, rays, camera)
    image = image * (1 - dark + dark * (0.04 + 0.96 * rays.beam))
    sky = _SKY * (1 - dark) + 0.02 * dark
    image = rays.ground * image + (1 - rays.ground) * sky
    through = jnp.exp(-haze * jnp.minimum(rays.forward, 300.0))
    image = air + (image - air) * through[:, None]
    image = _paint_cars(image, eye, cars, haze, dark, air, rays, camera)
    return _sense(image, condition, key, rays)


def _ground(road: Road, eye: Vehicle, condition: Condition, rays: _Rays, camera: PinholeCamera) -> Array:
    """Grass, asphalt and paint where each ray meets the ground."""
    c, s = jnp.cos(eye.heading), jnp.sin(eye.heading)
    middle, x = jnp.zeros_like(rays.forward), eye.x + c * rays.forward
    slope = jnp.zeros_like(middle)
    for _ in range(3):  # where the centre line crosses the row, metres to the left
        height, slope = centre(road, x)
        middle = middle - (eye.y + s * rays.forward + c * middle - height) / (c + slope * s)
        x = eye.x + c * rays.forward - s * middle
    cosine = (c + s * slope) * jax.lax.rsqrt(1 + slope**2)  # of the road's heading relative to the eye
    footprint = rays.forward / camera.focal
    half, gain = 0.5 * (_LINE + footprint), _LINE / (_LINE + footprint)
    wave = jnp.sin(2 * np.pi / _DASH * x)
    blur = 1 / (1 + (rays.forward**2 / (camera.height * camera.focal) / _DASH) ** 2)
    dash = 0.5 + 0.5 * blur * wave * jax.lax.rsqrt(0.1 + wave**2)
    # squared distance from the dashed line: edge lines and road edge are symmetric about it
    square = ((rays.left - middle[:, None]) * cosine[:, None] - LANE_WIDTH / 2) ** 2
    dashed = square / half[:, None] ** 2
    solid = ((square - LANE_WIDTH**2) / (2 * LANE_WIDTH * half[:, None])) ** 2
    paint = gain[:, None] * (1 / (1 + solid**2) + dash[:, None] / (1 + dashed**2)) * (1 - 0.4 * condition.rain)
    beside = (square / 16) ** 2
    surface = _GRASS + (_ASPHALT - _GRASS) / (1 + beside**2)
    return surface + (_PAINT - surface) * paint


def _paint_cars(
    image: Array, eye: Vehicle, cars: Cars, haze: Array, dark: Array, air: Array, rays: _Rays, camera: PinholeCamera
) -> Array:
    """Rear faces, far to near, with their lamps."""
    forward, left = into_frame(eye, cars.x, cars.y)
    forward = forward - 0.5 * LENGTH * jnp.abs(jnp.cos(cars.heading - eye.heading))
    index = np.arange(len(cars.x), dtype=np.int32)
    farther = forward[None, :] > forward[:, None]
    first = (forward[None, :] == forward[:, None]) & (index[None, :] < index[:, None])
    rank = jnp.sum(farther | first, axis=1, dtype=jnp.int32)
    order = (rank[None, :] == index[:, None]).astype(image.dtype)  # rows: places; columns: cars
    forward, left, shade = jnp.unstack(jnp.stack([forward, left, cars.shade]) @ order.T)
    there, depth = _edge((forward - 2) / 0.2), jnp.maximum(forward, 1.0)
    scale = camera.focal / depth
    through, lit = jnp.exp(-haze * depth), 1 - dark + dark * (0.04 + 0.96 / (1 + (depth / 25) ** 2))
    for i in range(len(index)):
        middle, half = -left[i] * scale[i], 0.5 * WIDTH * scale[i]
        bottom, tall = camera.height * scale[i], HEIGHT * scale[i]
        across = _edge((rays.column - middle + half) / 0.35) * _edge((middle + half - rays.column) / 0.35)
        down = there[i] * _edge((rays.row - bottom + tall) / 0.35) * _edge((bottom - rays.row) / 0.35)
        body = shade[i] * lit[i] * (1 - 0.8 * _edge((rays.row - bottom + 0.25 * tall) / (0.05 * tall + 0.2)))
        colour = air + (body - air) * through[i]
        image = image + down[:, None] * across[None, :] * (colour[:, None] - image)
        size = 0.08 * half + 0.4
        inside = (rays.column - middle) ** 2 - (0.8 * half) ** 2  # zero at either lamp
        lamps = 1 / (1 + (inside / (1.6 * half * size + size**2)) ** 4)
        level = 1 / (1 + ((rays.row - bottom + 0.5 * tall) / size) ** 4)
        glow = there[i] * through[i] * (0.1 + 0.6 * dark) / (1 + depth[i] / 60) * level
        image = image + glow[:, None] * lamps[None, :]
    return image


def _sense(image: Array, condition: Condition, key: PRNGKey, rays: _Rays) -> Array:
    """What the sensor makes of the light: dirt, streaks, noise, stuck pixels, black or white frames."""
    bits = hashed(seed_of(key), image.shape)
    unit = lambda word: word.astype(jnp.int32).astype(image.dtype)  # noqa: E731
    total = unit((bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255) + (bits >> 24))
    noise = (total - 510.0) * (1 / 147.8)
    image = image + condition.mud * rays.mud * (0.3 - image)
    streak = (unit(bits[0] >> 16) * 2.0**-16) ** 4  # a drop's trail, one number a column
    image = image + 0.25 * condition.rain * streak[None, :]
    image = image + (0.01 + 0.02 * condition.rain + 0.015 * condition.night + condition.camera_noise) * noise
    other = bits * jnp.uint32(0x2545F491)
    stuck = unit(other >> 16) * 2.0**-16 < condition.speckle
    image = jnp.where(stuck, unit((other >> 8) & 1), image)
    image = image + condition.white * (1 - image)
    return (1 - condition.black) * image
