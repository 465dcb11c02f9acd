"""Rigid motions: building them from what files hold, and moving along them by gradient."""

from math import factorial
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.driving.checks import check_transform
from chainlab.errors import DataError

Either = TypeVar("Either", np.ndarray, Array)
"""NumPy's arrays stay NumPy's (float64, for files), JAX's stay JAX's."""


def transform(b_from_a: Float[Either, "4 4"], points: Float[Either, "*points 3"]) -> Float[Either, "*points 3"]:
    r"""Take points to another frame: $R p + t$.

    Args:
        b_from_a: The rigid motion.
        points: In frame a.

    Returns:
        The points in frame b.
    """
    return points @ b_from_a[:3, :3].T + b_from_a[:3, 3][(None,) * (points.ndim - 1)]


def invert(b_from_a: Float[Either, "*poses 4 4"]) -> Float[Either, "*poses 4 4"]:
    r"""The inverse of a rigid motion, $(R^\top, -R^\top t)$.

    Args:
        b_from_a: The rigid motions.

    Returns:
        `a_from_b`.
    """
    numpy = np if isinstance(b_from_a, np.ndarray) else jnp
    rotation = numpy.swapaxes(b_from_a[..., :3, :3], -1, -2)
    top = numpy.concatenate([rotation, -rotation @ b_from_a[..., :3, 3:]], axis=-1)
    return numpy.concatenate([top, b_from_a[..., 3:, :]], axis=-2)  # pyright: ignore[reportReturnType]


def se3_exp(twist: Float[Array, "6"]) -> Float[Array, "4 4"]:
    r"""The rigid motion of a twist, $\exp \begin{pmatrix} [\omega]_\times & v \\ 0 & 0 \end{pmatrix}$.

    $R = I + A [\omega]_\times + B [\omega]_\times^2$ and $t = (I + B [\omega]_\times + C [\omega]_\times^2) v$, with
    $A, B, C$ as power series in $\theta^2 = \omega^\top \omega$: the closed forms divide by the angle, so that their
    derivative is not a number just where a calibration starts, at zero.

    Args:
        twist: Rotation vector $\omega$ in radians (of at most one turn), then $v$ in metres.

    Returns:
        The rigid motion.

    Example:
        >>> import jax.numpy as jnp
        >>> turn = se3_exp(jnp.array([0.0, 0.0, jnp.pi / 2, 0.0, 0.0, 3.0]))
        >>> jnp.allclose(transform(turn, jnp.array([1.0, 0.0, 0.0])), jnp.array([0.0, 1.0, 3.0]), atol=1e-6).item()
        True

    References:
        Lynch & Park, Modern Robotics, 2017, propositions 3.11 and 3.25.
    """
    x, y, z = rotation = twist[:3]
    o = jnp.zeros_like(x)
    hat = jnp.stack([jnp.stack(row) for row in ([o, -z, y], [z, o, -x], [-y, x, o])])
    squared, identity = hat @ hat, jnp.eye(3, dtype=twist.dtype)
    # A, B, C = sum (-theta^2)^k / (2k + n)! for n = 1, 2, 3; 16 terms are exact to 1e-10 up to one turn
    A, B, C = (
        jnp.polyval(
            jnp.array([1 / factorial(2 * k + n) for k in reversed(range(16))], twist.dtype), -rotation @ rotation
        )
        for n in (1, 2, 3)
    )
    R = identity + A * hat + B * squared
    t = (identity + B * hat + C * squared) @ twist[3:]
    return jnp.concatenate([jnp.concatenate([R, t[:, None]], axis=1), jnp.eye(4, dtype=twist.dtype)[3:]])


def from_quaternion(
    wxyz: Float[np.ndarray, "*poses 4"], translation: Float[np.ndarray, "*poses 3"], where: str
) -> Float[np.ndarray, "*poses 4 4"]:
    """Rigid motions of unit quaternions and translations.

    Args:
        wxyz: Hamilton quaternions, scalar first.
        translation: In metres.
        where: What they belong to, for the error.

    Returns:
        The rigid motions.

    Raises:
        DataError: A number is not finite, or a quaternion's norm is not 1 (to 1e-3).
    """
    from scipy.spatial.transform import Rotation

    norm = np.linalg.norm(wxyz, axis=-1)
    good = (np.abs(norm - 1) < 1e-3) & np.isfinite(translation).all(axis=-1)
    if not np.all(good):
        row = tuple(np.argwhere(~good)[0])
        got = f"{wxyz[row]} of norm {norm[row]:.4g}, translation {translation[row]}"
        raise DataError(f"{where}: wanted a unit quaternion and a finite translation, got {got} (pose {row})")
    rotation = Rotation.from_quat(wxyz.reshape(-1, 4), scalar_first=True).as_matrix()
    return _homogeneous(rotation.reshape(*wxyz.shape[:-1], 3, 3), translation)


def from_rotation(
    rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"], where: str
) -> Float[np.ndarray, "4 4"]:
    """A rigid motion of a rotation matrix and a translation.

    Args:
        rotation: The matrix.
        translation: In metres.
        where: What they belong to, for the error.

    Returns:
        The rigid motion.

    Raises:
        DataError: The matrix is not a rotation, or a number is not finite.
    """
    return check_transform(_homogeneous(rotation, translation), where)


def _homogeneous(
    rotation: Float[np.ndarray, "*poses 3 3"], translation: Float[np.ndarray, "*poses 3"]
) -> Float[np.ndarray, "*poses 4 4"]:
    last = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (*translation.shape[:-1], 1, 4))
    return np.concatenate([np.concatenate([rotation, translation[..., None]], axis=-1), last], axis=-2)


def yaw_of(b_from_a: Float[np.ndarray, "*poses 4 4"]) -> Float[np.ndarray, "*poses"]:
    """The direction of frame a's x axis in the x-y plane of frame b, in radians.

    Args:
        b_from_a: The rigid motions.

    Returns:
        The angles.
    """
    return np.arctan2(b_from_a[..., 1, 0], b_from_a[..., 0, 0])
