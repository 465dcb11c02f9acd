"""Identities that watch: a named point for users, and the tap whose probe's gradient is a statistic."""

import math

import jax
import jax.ad_checkpoint
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Num

_SAMPLED_ROWS = 8
FORWARD = ("largest", "squares", "zeros", "saturated", "similarity")
ADJOINT = ("largest", "squares", "zeros", "zero_rows")


def tap(x: Num[Array, "..."], name: str) -> Num[Array, "..."]:
    """Name a value so that `diagnose` reports it as a layer; the identity, without cost when it is not watched.

    Args:
        x: Any array.
        name: The name it is reported under.

    Returns:
        `x`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab import diagnose
        >>> f = lambda w, x: jnp.sum(tap(jnp.sin(w * x), "sine") ** 2)
        >>> [layer.name for layer in diagnose(f)(jnp.ones(3), jnp.arange(3.0)).layers]
        ['sine']
    """
    return jax.ad_checkpoint.checkpoint_name(x, name)


def wide(dtype: DTypeLike) -> DTypeLike:
    """The real type in which statistics of a type are taken: its own, float32 at least."""
    real = jnp.finfo(dtype).dtype
    return jnp.float32 if real.itemsize < 4 else real


def _columns(x: Array, features: int, *, count_zeros: bool) -> tuple[Array, Array, Array]:
    """Largest magnitude, sum of squares relative to the largest of all, and number of zeros, for each feature.

    Squares are taken of x / largest: those of an adjoint of 1e-25 would underflow. All three reduce over
    the major axes, which XLA vectorises on CPU where it does not vectorise a reduction over the last axis.
    """
    rows = tuple(axis for axis in range(x.ndim) if axis != features)
    largest = _largest(x, rows)
    top = jnp.max(largest)
    usable = (top > 0) & jnp.isfinite(top)
    scale = jnp.where(usable, 1 / jnp.where(usable, top, jnp.ones_like(top)), jnp.zeros_like(top))
    squares = jnp.sum(jnp.square(x * scale), rows)
    zeros = _count(x == 0, rows, squares.dtype) if count_zeros else jnp.full_like(squares, jnp.nan)
    return largest, squares, zeros


def _largest(x: Array, axes: tuple[int, ...]) -> Array:
    """The largest magnitude, NaN where there is one: floats without their sign are ordered like integers.

    A maximum of integers costs half of one of floats, which has to look for NaN.
    """
    integer = {4: jnp.int32, 8: jnp.int64}[x.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(x, integer) & jnp.asarray(jnp.iinfo(integer).max, integer)
    return jax.lax.bitcast_convert_type(jnp.max(bits, axes), x.dtype)


def _count(mask: Array, axes: tuple[int, ...], dtype: DTypeLike) -> Array:
    return jnp.sum(mask.astype(jnp.int32), axes).astype(dtype)


def _widen(x: Array) -> Array:
    return jnp.abs(x) if jnp.iscomplexobj(x) else x.astype(wide(x.dtype))


def _similarity(x: Array, features: int) -> Array:
    """Mean cosine between a few rows: 1 once the layer no longer tells its inputs apart."""
    count = x.size // x.shape[features]
    rows = jnp.moveaxis(x, features, -1).reshape(count, x.shape[features])[:: math.ceil(count / _SAMPLED_ROWS)]
    largest = jnp.max(jnp.abs(rows), axis=1, keepdims=True)
    rows = rows / jnp.where(largest > 0, largest, jnp.ones_like(largest))
    gram = rows @ rows.T
    norm = jnp.sqrt(jnp.diagonal(gram))
    inverse = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, jnp.ones_like(norm)), jnp.zeros_like(norm))
    number = jnp.sum((norm > 0).astype(x.dtype))
    return (inverse @ gram @ inverse - number) / (number * (number - 1))


def forward_statistics(
    x: Num[Array, "..."], features: int, limits: tuple[float, float] | None, *, zeros: bool, similarity: bool
) -> Float[Array, "forward features"]:
    """The columns `FORWARD` of a value, for each feature; those of the whole value are repeated.

    Args:
        x: A value of at least one axis.
        features: The axis of the features.
        limits: The asymptotes of the function that made it, where it has any.
        zeros: Whether exact zeros are counted.
        similarity: Whether rows are compared.

    Returns:
        The statistics, NaN where they are not asked for.
    """
    x = jax.lax.stop_gradient(_widen(x))
    largest, squares, count = _columns(x, features, count_zeros=zeros)
    saturated = alike = jnp.full_like(squares, jnp.nan)
    if limits is not None:
        middle, reach = (limits[0] + limits[1]) / 2, (limits[1] - limits[0]) / 2
        # 2 % of the range from an asymptote the slope of tanh and of the sigmoid is below 8 % of its largest
        beyond = jnp.abs(x - middle) > 0.96 * reach
        saturated = _count(beyond, tuple(axis for axis in range(x.ndim) if axis != features), squares.dtype)
    if similarity:
        alike = jnp.broadcast_to(_similarity(x, features), squares.shape)
    return jnp.stack([largest, squares, count, saturated, alike])


def _adjoint_statistics(x: Array, features: int) -> Array:
    x = _widen(x)
    largest, squares, zeros = _columns(x, features, count_zeros=True)

    def count(x: Array) -> Array:
        return _count(_largest(x, (features,)) == 0, tuple(range(x.ndim - 1)), squares.dtype)

    # a row of zeros needs that many zeros: the slow reduction over the features is skipped without them
    possible = jnp.sum(zeros) >= x.shape[features]
    zero_rows = jax.lax.cond(possible, count, lambda x: jnp.zeros((), squares.dtype), x)
    return jnp.stack([largest, squares, zeros, jnp.broadcast_to(zero_rows, squares.shape)])


def probe_shape(shape: tuple[int, ...], features: int) -> tuple[int, int]:
    """The shape of the probe, and so of the adjoint statistics, of a value.

    Args:
        shape: The value's shape.
        features: The axis of its features.

    Returns:
        Number of statistics and of features.
    """
    return len(ADJOINT), shape[features]


def watch(x: Num[Array, "..."], probe: Float[Array, "adjoint features"], features: int) -> Num[Array, "..."]:
    r"""The identity; the "gradient" with respect to `probe` is the statistics of the adjoint of `x`.

    Args:
        x: A value.
        probe: Zeros, of `probe_shape`.
        features: The axis of the features.

    Returns:
        `x`.
    """

    @jax.custom_vjp
    def identity(x: Array, probe: Array) -> Array:
        del probe
        return x

    def backward(residuals: None, adjoint: Array) -> tuple[Array, Array]:
        del residuals
        return adjoint, _adjoint_statistics(adjoint, features).astype(probe.dtype)

    identity.defvjp(lambda x, probe: (x, None), backward)
    return identity(x, probe)
