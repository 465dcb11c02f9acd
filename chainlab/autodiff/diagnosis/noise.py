"""How noisy a gradient is, and how far an update moves its weights."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from chainlab.autodiff.diagnosis.taps import wide
from chainlab.errors import UsageError
from chainlab.typing import Batch, Objective, Params, PRNGKey


class NoiseScale(NamedTuple):
    """The gradient's signal and noise.

    Attributes:
        scale: The simple noise scale tr(Sigma) / |G|^2, in examples: the batch beyond which more examples help
            little. It may be negative or infinite where the batch is too small to tell.
        by_leaf: The same for each leaf of the parameters.
        squared_norm: Unbiased estimate of |G|^2, the squared norm of the expected gradient.
        trace: Unbiased estimate of tr(Sigma), the summed variance of one example's gradient.
    """

    scale: Float[Array, ""]
    by_leaf: PyTree
    squared_norm: Float[Array, ""]
    trace: Float[Array, ""]


def gradient_noise_scale(
    objective: Objective, params: Params, batch: Batch, key: PRNGKey, *, parts: int = 8
) -> NoiseScale:
    r"""The simple gradient noise scale $B = \mathrm{tr}(\Sigma) / |G|^2$ from one batch cut in parts.

    With $b = n / k$ examples in each of $k$ parts, unbiased estimates are
    $|G|^2 = (n |G_n|^2 - b\,\overline{|G_b|^2}) / (n - b)$ and
    $\mathrm{tr}(\Sigma) = (\overline{|G_b|^2} - |G_n|^2) / (1/b - 1/n)$. The parts are scanned, in the memory of one.

    Args:
        objective: A mean over examples, `objective(params, batch, key) -> (scalar, metrics)`.
        params: The point.
        batch: Examples along the leading axis of every leaf.
        key: Randomness of the objective.
        parts: Number of parts; must divide the batch.

    Returns:
        The noise scale.

    Raises:
        UsageError: `parts` is less than 2 or does not divide the batch.

    References:
        McCandlish et al., An Empirical Model of Large-Batch Training, arXiv:1812.06162, equations 2.9, A.2, A.3.
    """
    (size,) = {leaf.shape[0] for leaf in jax.tree.leaves(batch)}
    if parts < 2 or size % parts:
        raise UsageError(f"parts must be at least 2 and divide the batch of {size}, got {parts}")
    cut = jax.tree.map(lambda x: x.reshape(parts, size // parts, *x.shape[1:]), batch)

    def squares(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: jnp.sum(jnp.square(x.astype(wide(x.dtype)))), tree)

    def body(total: PyTree, inputs: tuple[Batch, PRNGKey]) -> tuple[PyTree, PyTree]:
        gradient = jax.grad(lambda p: objective(p, *inputs)[0])(params)
        return jax.tree.map(jnp.add, total, gradient), squares(gradient)

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, small = jax.lax.scan(body, zeros, (cut, jax.random.split(key, parts)))
    large = squares(jax.tree.map(lambda x: x / parts, total))
    small = jax.tree.map(jnp.mean, small)
    part = size // parts

    signal = jax.tree.map(lambda big, little: (size * big - part * little) / (size - part), large, small)
    trace = jax.tree.map(lambda big, little: (little - big) / (1 / part - 1 / size), large, small)
    squared_norm, noise = (jnp.sum(jnp.stack(jax.tree.leaves(tree))) for tree in (signal, trace))
    return NoiseScale(noise / squared_norm, jax.tree.map(jnp.divide, trace, signal), squared_norm, noise)


def update_ratio(params: Params, updates: Params, *, layers: int | None = None) -> PyTree:
    r"""How far an update moves each leaf, $|\Delta \theta| / |\theta|$; about $10^{-3}$ is usual.

    Args:
        params: The parameters.
        updates: What is added to them, a tree like `params`.
        layers: Length of the leading axis of stacked leaves, which get one ratio for each index.

    Returns:
        A tree like `params` of scalars, or `(layers,)` for stacked leaves; infinite for weights that are all 0.

    Raises:
        UsageError: The trees differ.

    Example:
        >>> import jax.numpy as jnp
        >>> update_ratio({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([0.0, 2.5])})["w"].item()
        0.5
    """
    if jax.tree.structure(params) != jax.tree.structure(updates):
        raise UsageError(
            f"updates must be a tree like params {jax.tree.structure(params)}, got {jax.tree.structure(updates)}"
        )

    def ratio(weight: Array, update: Array) -> Array:
        stacked = layers is not None and weight.ndim > 0 and weight.shape[0] == layers
        axes = tuple(range(1 if stacked else 0, weight.ndim))
        moved, size = (jnp.sqrt(jnp.sum(jnp.square(x), axes)) for x in (update, weight))
        return jnp.where(size > 0, moved / jnp.where(size > 0, size, jnp.ones_like(size)), jnp.inf)

    return jax.tree.map(ratio, params, updates)
