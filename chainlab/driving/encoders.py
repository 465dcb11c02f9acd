"""Encoders: what a sensor measured as a set of tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab import nn
from chainlab.driving import grid
from chainlab.driving.camera import CAMERA, PinholeCamera
from chainlab.driving.lidar import LIDAR, Lidar, points
from chainlab.errors import UsageError
from chainlab.nn import Model
from chainlab.typing import Params, PRNGKey

CameraEncoder = Literal["patch", "convolution"]
LidarEncoder = Literal["range", "histogram", "pillars"]
_PATCH = (4, 4)


@dataclass(frozen=True)
class Encoder:
    """A model from one sensor's two measurements to tokens.

    Attributes:
        model: `apply(params, measured) -> tokens` (batch, count, dim).
        count: Tokens.
    """

    model: Model
    count: int


def _tokens(prepare: Callable[[Array], Array], count: int, values: int, dim: int) -> Encoder:
    """Prepared values (batch, count, values), embedded one by one with a place of their own."""
    embed, mix = nn.dense(values, dim), nn.dense(dim, dim)

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, 3)
        place = 0.02 * jax.random.normal(keys[2], (count, dim))
        return {"embed": embed.init(keys[0]), "mix": mix.init(keys[1]), "place": place}

    def apply(params: Params, x: Array, *, key: PRNGKey | None = None) -> Array:
        del key
        tokens = embed.apply(params["embed"], prepare(x)) + params["place"][None, :, :]
        return mix.apply(params["mix"], jax.nn.gelu(tokens))

    return Encoder(Model(init, apply), count)


def camera_encoder(kind: CameraEncoder, dim: int, camera: PinholeCamera = CAMERA) -> Encoder:
    """Tokens of two frames: patches of 4x4 pixels, or two strided convolutions.

    Args:
        kind: `patch`, or `convolution` (which costs more on CPU and shares what it learns over the picture).
        dim: Features of a token.
        camera: The camera.

    Returns:
        The encoder over (batch, 2, rows, columns).

    Raises:
        UsageError: The camera's picture cannot be cut into patches.

    References:
        Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv:2010.11929, equation 1.
    """

    def frames(x: Array) -> Array:
        return (jnp.moveaxis(x, 1, -1) - 0.4) * 4.0

    if camera.rows % _PATCH[0] or camera.columns % _PATCH[1]:
        raise UsageError(f"a camera must have whole patches of 4x4 pixels, got {camera.rows}x{camera.columns} pixels")
    rows, columns = camera.rows // _PATCH[0], camera.columns // _PATCH[1]
    count, values = rows * columns, 2 * _PATCH[0] * _PATCH[1]
    if kind == "patch":
        return _tokens(lambda x: grid.patches(frames(x), _PATCH), count, values, dim)
    first = nn.convolution(2, dim, (5, 5), stride=(2, 2))
    second = nn.convolution(dim, dim, (3, 3), stride=(2, 2))

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key)
        return {"first": first.init(keys[0]), "second": second.init(keys[1])}

    def apply(params: Params, x: Array, *, key: PRNGKey | None = None) -> Array:
        del key
        y = jax.nn.gelu(first.apply(params["first"], frames(x)))
        return second.apply(params["second"], y).reshape(len(x), count, dim)

    return Encoder(Model(init, apply), count)


def _returned(ranges: Array, lidar: Lidar) -> Array:
    return (ranges < lidar.reach).astype(ranges.dtype)


def _range_image(ranges: Array, lidar: Lidar) -> Array:
    """Nearness, inverse range, and approach between the sweeps, by sectors of four beams."""
    before, now = ranges[:, 0], ranges[:, 1]
    both = _returned(before, lidar) * _returned(now, lidar)
    approach = both * jnp.tanh((before - now) / 3)
    image = jnp.stack([1 - now / lidar.reach, 4 / (now + 2), approach, _returned(now, lidar)], axis=-1)
    return grid.patches(image, (len(lidar.elevation), 4))


def _histogram(ranges: Array, lidar: Lidar) -> Array:
    """Logarithm of how many returns above the ground fall in each cell, for either sweep."""
    cloud = points(ranges, lidar)
    weight = _returned(ranges, lidar) * (cloud[..., 2] > 0.2).astype(ranges.dtype)
    flat = weight.reshape(-1, weight.shape[-2] * weight.shape[-1], 1)
    index = grid.cell(cloud[..., 0], cloud[..., 1]).reshape(flat.shape[:2])
    counts = jax.vmap(grid.splat)(flat, index)
    counts = counts.reshape(len(ranges), 2, grid.SIZE, grid.SIZE)
    return grid.patches(jnp.log1p(jnp.moveaxis(counts, 1, -1)), _PATCH)


def pillar_grid(dim: int, lidar: Lidar = LIDAR) -> Model:
    """PointPillars' grid: features of each point, learnt, and their largest in each cell.

    A point carries its place, its place in its cell, its height and which sweep it is of.

    Args:
        dim: Features.
        lidar: The LiDAR.

    Returns:
        A model from (batch, 2, rings, beams) to (batch, 16, 16, dim); cells without a return are zero.

    References:
        Lang et al., PointPillars, arXiv:1812.05784, section 2.1.
    """
    embed = nn.dense(6, dim)

    def apply(params: Params, ranges: Array, *, key: PRNGKey | None = None) -> Array:
        del key
        cloud = points(ranges, lidar)
        index = grid.cell(cloud[..., 0], cloud[..., 1])
        index = jnp.where(_returned(ranges, lidar) > 0, index, grid.CELLS)
        middle = jnp.asarray(grid.centres(), ranges.dtype)[index]
        late = jnp.broadcast_to(jnp.arange(2, dtype=jnp.int32).astype(ranges.dtype)[:, None, None], ranges.shape[1:])
        late = jnp.broadcast_to(late, ranges.shape)
        scale = jnp.asarray([1 / grid.FORWARD, 1 / grid.LEFT, 1.0], ranges.dtype).reshape((1,) * 4 + (3,))
        inside = (cloud[..., :2] - middle) * 0.5
        described = jnp.concatenate([cloud * scale, inside, late[..., None]], axis=-1)
        features = jax.nn.relu(embed.apply(params, described)).reshape(len(ranges), -1, dim)
        largest = jax.vmap(lambda f, i: jax.ops.segment_max(f, i, grid.CELLS + 1)[: grid.CELLS])
        found = largest(features, index.reshape(len(ranges), -1))
        found = jnp.where(jnp.isfinite(found), found, 0.0)  # an empty cell's largest is -inf
        return found.reshape(len(ranges), grid.SIZE, grid.SIZE, dim)

    return Model(embed.init, apply)


def lidar_encoder(kind: LidarEncoder, dim: int, lidar: Lidar = LIDAR) -> Encoder:
    """Tokens of two sweeps.

    Args:
        kind: `range` cuts the range image into sectors of four beams; `histogram` counts returns in a bird's-eye
            grid; `pillars` learns what to keep of each cell's points. The latter two cut the grid in 4x4 patches.
        dim: Features of a token.
        lidar: The LiDAR.

    Returns:
        The encoder over ranges (batch, 2, rings, beams).

    Raises:
        UsageError: The range image cannot be cut into sectors.
    """
    if kind == "range":
        if lidar.beams % 4:
            raise UsageError(f"a LiDAR must have whole sectors of four beams, got {lidar.beams} beams")
        sectors = lidar.beams // 4
        return _tokens(lambda r: _range_image(r, lidar), sectors, len(lidar.elevation) * 16, dim)
    side = grid.SIZE // _PATCH[0]
    if kind == "histogram":
        return _tokens(lambda r: _histogram(r, lidar), side**2, 2 * _PATCH[0] * _PATCH[1], dim)
    pillars = pillar_grid(dim, lidar)
    after = _tokens(lambda g: grid.patches(g, _PATCH), side**2, dim * _PATCH[0] * _PATCH[1], dim)

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key)
        return {"pillars": pillars.init(keys[0]), "tokens": after.model.init(keys[1])}

    def apply(params: Params, ranges: Array, *, key: PRNGKey | None = None) -> Array:
        del key
        return after.model.apply(params["tokens"], pillars.apply(params["pillars"], ranges))

    return Encoder(Model(init, apply), side**2)


def lift(dim: int, depths: int = 8, camera: PinholeCamera = CAMERA) -> tuple[Model, int]:
    """Lift-splat: each camera token spreads its features over the depths that it believes in, into the grid.

    Args:
        dim: Features.
        depths: Depth bins between 4 and 60 m.
        camera: The camera.

    Returns:
        A model from camera tokens (batch, count, dim) to a grid (batch, 16, 16, dim), and its depth bins.

    References:
        Philion and Fidler, Lift, Splat, Shoot, arXiv:2008.05711, section 3.
    """
    believe = nn.dense(dim, depths)
    rows, columns = camera.rows // _PATCH[0], camera.columns // _PATCH[1]
    column = (np.arange(columns) + 0.5) * _PATCH[1] - camera.columns / 2
    forward = np.broadcast_to(np.geomspace(4, 60, depths), (rows, columns, depths))
    left = -column[None, :, None] / camera.focal * forward

    def apply(params: Params, tokens: Array, *, key: PRNGKey | None = None) -> Array:
        del key
        index = grid.cell(jnp.asarray(forward, tokens.dtype), jnp.asarray(left, tokens.dtype)).reshape(-1)
        belief = jax.nn.softmax(believe.apply(params, tokens), axis=-1)
        lifted = (belief[..., None] * tokens[..., None, :]).reshape(len(tokens), -1, dim)
        return jax.vmap(lambda values: grid.splat(values, index))(lifted)

    return Model(believe.init, apply), depths


def ego_features(ego: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Speed, acceleration and yaw rate at the scale of one.

    Args:
        ego: m/s, m/s^2, rad/s.

    Returns:
        Features.
    """
    middle = np.asarray([8.0, 0.0, 0.0], ego.dtype).reshape((1,) * (ego.ndim - 1) + (3,))
    scale = np.asarray([4.0, 2.0, 0.15], ego.dtype).reshape((1,) * (ego.ndim - 1) + (3,))
    return (ego - middle) / scale
