"""Distances between two sets of feature vectors; nothing is downloaded."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.typing import Metrics, PRNGKey

Features = Float[Array, "samples dim"]
Others = Float[Array, "others dims"]


def _check(where: str, real: Features, fake: Others, least: int = 2) -> None:
    if real.shape[1] != fake.shape[1] or min(real.shape[0], fake.shape[0]) < least:
        raise UsageError(
            f"{where}: wanted two sets of at least {least} vectors of one dimension, got {real.shape} and {fake.shape}"
        )


def frechet_distance(real: Features, fake: Others) -> Float[Array, ""]:
    r"""Fréchet distance of the Gaussians fitted to two sets of features.

    $\lVert \mu_1 - \mu_2 \rVert^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (R \Sigma_2 R)^{1/2})$, $R = \Sigma_1^{1/2}$,
    with the root from symmetric eigenvalues, so that a singular covariance is no special case. The distance depends on
    the features and on the number of samples: state both. On the features of an Inception network it is FID; on those
    of any other it is not.

    Args:
        real: Features of real examples.
        fake: Others of generated examples.

    Returns:
        The distance.

    Raises:
        UsageError: The dimensions differ or there are fewer than two vectors.

    References:
        Heusel et al., arXiv:1706.08500, equation 6.
    """
    _check("frechet_distance", real, fake)
    difference = jnp.mean(real, axis=0) - jnp.mean(fake, axis=0)
    first, second = (jnp.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]) for x in (real, fake))
    values, vectors = jnp.linalg.eigh(first)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]) @ vectors.T
    cross = jnp.sum(jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(root @ second @ root), 0)))
    return jnp.sum(jnp.square(difference)) + jnp.trace(first) + jnp.trace(second) - 2 * cross


def kernel_distance(real: Features, fake: Others, *, degree: int = 3) -> Float[Array, ""]:
    r"""Kernel (Inception) distance: unbiased squared MMD with the kernel $(x^\top y / d + 1)^3$ on all samples.

    On unnormalised ReLU features it is noisy; divide each vector by its root mean square first.

    Args:
        real: Features of real examples.
        fake: Others of generated examples.
        degree: Degree of the kernel.

    Returns:
        The squared distance; it can be slightly negative.

    Raises:
        UsageError: The dimensions differ or there are fewer than two vectors.

    Example:
        >>> x = jnp.array([[0.0], [1.0]])
        >>> float(kernel_distance(x, x, degree=1))  # unbiased, hence negative for a set and itself
        -0.5

    References:
        Bińkowski et al., Demystifying MMD GANs, arXiv:1801.01401, equation 4 and section 4.
    """
    _check("kernel_distance", real, fake)
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** degree  # noqa: E731

    def within(x: Features) -> Array:
        gram = kernel(x, x)
        return (jnp.sum(gram) - jnp.trace(gram)) / (x.shape[0] * (x.shape[0] - 1))

    return within(real) + within(fake) - 2 * jnp.mean(kernel(real, fake))


def squared_distances(a: Features, b: Others) -> Float[Array, "samples others"]:
    """Squared Euclidean distance of every pair, never negative."""
    square = jnp.sum(jnp.square(a), axis=1)[:, None] + jnp.sum(jnp.square(b), axis=1)[None, :] - 2 * a @ b.T
    return jnp.maximum(square, 0)


def neighbour_metrics(real: Features, fake: Others, *, neighbours: int = 5) -> Metrics:
    r"""Precision, recall, density and coverage from nearest-neighbour balls.

    Args:
        real: Features of real examples.
        fake: Others of generated examples.
        neighbours: $k$: a ball reaches to the $k$-th nearest neighbour of its own set.

    Returns:
        `precision`: share of generated examples in a real ball; `recall`: of real examples in a generated ball;
        `density`: real balls a generated example is in, over $k$; `coverage`: share of real balls that hold a generated
        example. Real against real is below 1: print it beside them.

    Raises:
        UsageError: There are not more examples than neighbours, or the dimensions differ.

    References:
        Kynkäänniemi et al., arXiv:1904.06991; Naeem et al., Reliable Fidelity and Diversity Metrics for Generative
        Models, arXiv:2002.09797, equations 3 to 6.
    """
    _check("neighbour_metrics", real, fake, neighbours + 1)

    def radius(x: Features) -> Float[Array, " samples"]:
        nearest, _ = jax.lax.top_k(-squared_distances(x, x), neighbours + 1)  # the first is the example itself
        return -nearest[:, -1]

    across = squared_distances(real, fake)
    in_real, in_fake = across < radius(real)[:, None], across < radius(fake)[None, :]
    share = lambda inside: jnp.mean(inside.astype(real.dtype))  # noqa: E731
    return {
        "precision": share(jnp.any(in_real, axis=0)),
        "recall": share(jnp.any(in_fake, axis=1)),
        "density": jnp.mean(jnp.sum(in_real.astype(real.dtype), axis=0)) / neighbours,
        "coverage": share(jnp.min(across, axis=1) < radius(real)),
    }


def sliced_wasserstein(real: Features, fake: Others, key: PRNGKey, *, projections: int = 128) -> Float[Array, ""]:
    r"""Sliced Wasserstein-2 distance, $(E_u W_2^2(u^\top X, u^\top Y))^{1/2}$ over random directions.

    Args:
        real: Examples, flat.
        fake: As many generated examples.
        key: Draws the directions.
        projections: Number of directions.

    Returns:
        The distance, in the units of the data.

    Raises:
        UsageError: The sets differ in shape.

    References:
        Bonneel et al., Sliced and Radon Wasserstein Barycenters, JMIV 51, 2015, definition 3.
    """
    if real.shape != fake.shape:
        raise UsageError(f"sliced_wasserstein: wanted two sets of one shape, got {real.shape} and {fake.shape}")
    directions = jax.random.normal(key, (real.shape[1], projections), real.dtype)
    directions = directions / jnp.linalg.norm(directions, axis=0, keepdims=True)
    gap = jnp.sort(real @ directions, axis=0) - jnp.sort(fake @ directions, axis=0)
    return jnp.sqrt(jnp.mean(jnp.square(gap)))


def memorisation(
    train: Features, held_out: Others, fake: Float[Array, "fakes width"], *, tolerance: float = 1e-3
) -> Metrics:
    r"""Whether generated examples are copies: their distance to the training set beside that of unseen real ones.

    Args:
        train: Training examples, flat.
        held_out: Real examples that were not trained on.
        fake: Generated examples.
        tolerance: Root mean square difference an element below which an example is a copy.

    Returns:
        `copies`: share of generated examples that are one; `nearest_ratio`: median distance to the nearest training
        example, generated over held out: well below 1 is memorisation.

    Raises:
        UsageError: The dimensions differ.
    """
    _check("memorisation", train, held_out, 1)
    _check("memorisation", train, fake, 1)

    def nearest(x: Any) -> Array:
        index = jnp.argmin(squared_distances(x, train), axis=1)
        return jnp.sqrt(jnp.mean(jnp.square(x - train[index]), axis=1))  # not from the expansion: it cancels near 0

    ours, theirs = nearest(fake), nearest(held_out)
    return {
        "copies": jnp.mean((ours < tolerance).astype(fake.dtype)),
        "nearest_ratio": jnp.median(ours) / jnp.median(theirs),
    }
