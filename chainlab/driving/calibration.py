r"""Calibration by gradient: extrinsics that minimise any differentiable loss.

A rigid motion is not a vector, so the step is taken in its tangent space: $T(\xi) = \exp(\xi) T_0$ and the chain rule
goes through projection, motion and exponential to the twist $\xi$.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from chainlab.driving.geometry import se3_exp
from chainlab.driving.projection import project, sample_image

ExtrinsicsLoss: TypeAlias = Callable[[Array], Array]
"""`loss(b_from_a) -> scalar`, of the rigid motion that is sought."""


class Calibrated(NamedTuple):
    """The result of a calibration.

    Attributes:
        extrinsics: The refined rigid motion.
        losses: Before every step.
    """

    extrinsics: Float[Array, "4 4"]
    losses: Float[Array, " steps"]


def refine_extrinsics(
    loss: ExtrinsicsLoss,
    initial: Float[Array | np.ndarray, "4 4"],
    *,
    steps: int = 300,
    learning_rate: float = 2e-3,
    translation: bool = True,
) -> Calibrated:
    r"""Minimise a loss of the extrinsics, $\min_\xi \ell(\exp(\xi)\, T_0)$, by Adam with a cosine schedule.

    Args:
        loss: Of the extrinsics. For a LiDAR seen by several cameras, sum their losses:
            `lambda ego_from_lidar: sum(loss(camera_from_ego @ ego_from_lidar) for ...)`.
        initial: $T_0$.
        steps: Gradient steps.
        learning_rate: Of the first step; about the largest change of an angle (rad) or a translation (m) a step.
        translation: Whether the translation is refined too.

    Returns:
        Extrinsics and losses.

    Example:
        >>> import jax.numpy as jnp
        >>> wanted = jnp.array([1.0, 2.0, 0.0])
        >>> loss = lambda b_from_a: jnp.sum(jnp.square(b_from_a[:3, 3] - wanted))
        >>> refine_extrinsics(loss, jnp.eye(4), learning_rate=0.05).extrinsics[:3, 3].round(2).tolist()
        [1.0, 2.0, 0.0]
    """
    initial = jnp.asarray(initial)
    free = jnp.array([1, 1, 1] + 3 * [int(translation)], initial.dtype)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def refined(twist: Array) -> Array:
        return se3_exp(twist * free) @ initial

    def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], Array]:
        twist, state = carry
        value, gradient = jax.value_and_grad(lambda twist: loss(refined(twist)))(twist)
        with jax.numpy_dtype_promotion("standard"):  # optax counts in integers
            updates, state = optimizer.update(gradient, state, twist)
        return (jnp.asarray(optax.apply_updates(twist, updates)), state), value

    start = jnp.zeros(6, initial.dtype)
    (twist, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), None, steps)
    return Calibrated(refined(twist), losses)


def reprojection_loss(
    points: Float[Array | np.ndarray, "points 3"],
    pixels: Float[Array | np.ndarray, "points 2"],
    intrinsics: Float[Array | np.ndarray, "3 3"],
    *,
    outlier: float = 3.0,
) -> ExtrinsicsLoss:
    r"""Mean Huber distance between projected points and the pixels where they were seen.

    Args:
        points: Points that were found in both sensors (corners of a board, of boxes), in the points' frame.
        pixels: Where each was seen.
        intrinsics: $K$.
        outlier: Distance in pixels beyond which a residual counts linearly.

    Returns:
        A loss of `camera_from_points`.
    """

    def loss(camera_from_points: Array) -> Array:
        residual = project(points, camera_from_points, intrinsics).pixels - jnp.asarray(pixels)
        squared = jnp.sum(jnp.square(residual), axis=-1)
        # pseudo-Huber: smooth, and no square root of zero
        return jnp.mean(outlier**2 * (jnp.sqrt(1 + squared / outlier**2) - 1))

    return loss


def edge_alignment_loss(
    points: Float[Array | np.ndarray, "points 3"],
    weights: Float[Array | np.ndarray, " points"],
    edges: Float[Array | np.ndarray, "height width"],
    intrinsics: Float[Array | np.ndarray, "3 3"],
) -> ExtrinsicsLoss:
    r"""Where the LiDAR sees an edge the picture should: $-\sum_i w_i E(\pi(p_i)) / \sum_i w_i$. Needs no target.

    Args:
        points: In the points' frame.
        weights: How much each point is an edge, of `depth_edges`.
        edges: The picture's edges $E$, of `image_edges`.
        intrinsics: $K$.

    Returns:
        A loss of `camera_from_points`.

    References:
        Levinson & Thrun, Automatic online calibration of cameras and lasers, RSS 2013, equation 2.
    """
    field, strength = jnp.asarray(edges)[..., None], jnp.asarray(weights)

    def loss(camera_from_points: Array) -> Array:
        projected = project(points, camera_from_points, intrinsics)
        seen = jnp.where(projected.visible(*field.shape[:2]), strength, 0)
        values = sample_image(field, projected.pixels)[..., 0]
        return -jnp.sum(seen * values) / jnp.maximum(jnp.sum(strength), 1e-6)

    return loss


def image_edges(image: Float[np.ndarray, "height width"], *, blur: float) -> Float[np.ndarray, "height width"]:
    """The gradient magnitude of a picture, spread by a Gaussian so that misplaced points feel it from afar.

    Args:
        image: Grey values.
        blur: Standard deviation in pixels: about the misalignment to be bridged.

    Returns:
        The edges, of mean 0 and standard deviation 1.
    """
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

    edges = gaussian_filter(np.sqrt(gaussian_gradient_magnitude(image.astype(np.float32), 1.0)), blur)
    return (edges - edges.mean()) / edges.std()


def depth_edges(scans: Sequence[Float[np.ndarray, "points 3"]]) -> list[Float[np.ndarray, " points"]]:
    r"""How much nearer each point is than its neighbours in the beam, $\max(r_{i\pm1} - r_i, 0)^{1/2}$.

    The nearer side of a jump is the edge of the object; the farther side only where its shadow ends.

    Args:
        scans: Points in the order of the turn, one array a beam.

    Returns:
        A weight a point, one array a beam.

    References:
        Levinson & Thrun, RSS 2013, equation 1.
    """
    weights: list[Float[np.ndarray, " points"]] = []
    for scan in scans:
        distance = np.linalg.norm(scan, axis=-1)
        jump = np.maximum(np.roll(distance, 1), np.roll(distance, -1)) - distance
        weights.append(np.sqrt(np.where(jump > 0.3, jump, 0.0)))
    return weights
