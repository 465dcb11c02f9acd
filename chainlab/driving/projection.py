"""Points into pictures, differentiably: the chain from a calibration to a pixel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from chainlab.driving.geometry import transform


class Projected(NamedTuple):
    """Points in a picture.

    Attributes:
        pixels: Column u and row v; the centre of the first pixel is (0, 0).
        depth: Along the optical axis, in metres.
    """

    pixels: Float[Array, "*points 2"]
    depth: Float[Array, "*points"]

    def visible(self, height: int, width: int) -> Bool[Array, "*points"]:
        """Which points are in front of the camera and within a picture of this size."""
        u, v = self.pixels[..., 0], self.pixels[..., 1]
        inside = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
        return inside & (self.depth > _NEAR)


_NEAR = 0.1  # m; nearer points, and those behind, get the pixel of this depth, so that no gradient is infinite


def project(
    points: Float[Array | np.ndarray, "*points 3"],
    camera_from_points: Float[Array | np.ndarray, "4 4"],
    intrinsics: Float[Array | np.ndarray, "3 3"],
) -> Projected:
    r"""The pinhole camera: $(u, v, 1)^\top = \tfrac{1}{z} K (R p + t)$.

    Args:
        points: In any frame.
        camera_from_points: From that frame to the camera.
        intrinsics: $K$.

    Returns:
        Pixels and depths; see `Projected.visible` for which of them are in the picture.

    Example:
        >>> import jax.numpy as jnp
        >>> K = jnp.array([[100.0, 0.0, 50.0], [0.0, 100.0, 40.0], [0.0, 0.0, 1.0]])
        >>> project(jnp.array([1.0, 0.5, 10.0]), jnp.eye(4), K).pixels.tolist()
        [60.0, 45.0]

    References:
        Hartley & Zisserman, Multiple View Geometry, 2nd edition, 2004, equation 6.8.
    """
    in_camera = transform(jnp.asarray(camera_from_points), jnp.asarray(points))
    depth = in_camera[..., 2]
    scaled = in_camera @ jnp.asarray(intrinsics).T
    return Projected(scaled[..., :2] / jnp.maximum(depth, _NEAR)[..., None], depth)


def sample_image(
    image: Float[Array, "height width channels"], pixels: Float[Array, "*points 2"]
) -> Float[Array, "*points channels"]:
    """Read a picture at real-valued pixels, bilinearly; zero outside. Differentiable in both arguments.

    Args:
        image: The picture, or any map of features.
        pixels: Column and row.

    Returns:
        The values.

    Example:
        >>> import jax.numpy as jnp
        >>> ramp = jnp.arange(6.0).reshape(2, 3, 1)
        >>> sample_image(ramp, jnp.array([[0.5, 0.0], [2.0, 0.5]]))[:, 0].tolist()
        [0.5, 3.5]
    """
    where = [pixels[..., 1], pixels[..., 0]]
    read = lambda channel: jax.scipy.ndimage.map_coordinates(channel, where, order=1, mode="constant")  # noqa: E731
    return jax.vmap(read, in_axes=-1, out_axes=-1)(image)
