"""Pictures of a generator for a run's report, and phase portraits of small games."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from chainlab.errors import UsageError
from chainlab.gan.game import Game, Players, vector_field
from chainlab.gan.step import snapshot_steps
from chainlab.typing import Params, PRNGKey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chainlab.gan.imitation import Problem


def picture_grid(x: Float[np.ndarray | Array, "rows columns height width channels"]) -> "Figure":
    """Images in [-1, 1] as a grid.

    Args:
        x: Images by row and column; one channel is grey, three are red, green and blue.

    Returns:
        A figure.

    Raises:
        UsageError: There are neither one nor three channels.
    """
    from matplotlib.figure import Figure

    rows, columns, height, width, channels = x.shape
    if channels not in (1, 3):
        raise UsageError(f"picture_grid needs 1 or 3 channels, got {channels}")
    padded = np.pad(np.asarray(x), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    sheet = padded.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 2), columns * (width + 2), channels)
    figure = Figure(figsize=(columns * 0.55, rows * 0.55), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.clip((sheet + 1) / 2, 0, 1).squeeze(), cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure


def scatter(real: Float[np.ndarray | Array, "reals 2"], fake: Float[np.ndarray | Array, "fakes 2"]) -> "Figure":
    """Real and generated points of the plane side by side.

    Args:
        real: Real points.
        fake: Generated points.

    Returns:
        A figure.
    """
    return _clouds({"real": real, "generated": fake}, 4.0)


def _clouds(clouds: Mapping[str, Any], side: float) -> "Figure":
    """Points of the plane side by side on the same axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side * len(clouds), side), layout="constrained")
    sides = figure.subplots(1, len(clouds), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, points) in zip(sides, clouds.items(), strict=True):
        axes.scatter(*np.asarray(points).T, s=1, alpha=0.4, rasterized=True)  # thousands of paths make megabytes
        axes.set_title(title)
        axes.set_aspect("equal")
    return figure


def phase_portrait(
    game: Game, *, extent: float = 2.0, points: int = 15, rate: float = 0.1, steps: int = 200
) -> "Figure":
    r"""The field $-v$ of a game over two scalars, and the path of simultaneous gradient descent from a corner.

    Args:
        game: Two objectives over scalars, such as `dirac_gan()`.
        extent: Half the side of the square that is drawn.
        points: Arrows along a side.
        rate: Learning rate of the path.
        steps: Its steps.

    Returns:
        A figure; generator to the right, discriminator up.
    """
    from matplotlib.figure import Figure

    field = vector_field(game, None, jax.random.key(0))

    def velocity(point: Float[Array, "2"]) -> Float[Array, "2"]:
        v, _ = field(Players(point[0], point[1]))
        return -jnp.stack([v.generator, v.discriminator])

    line = jnp.linspace(-extent, extent, points)
    mesh = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)
    arrows = np.asarray(jax.jit(jax.vmap(velocity))(mesh))
    move = lambda point, _: (point + rate * velocity(point), point)  # noqa: E731
    _, path = jax.lax.scan(move, jnp.full(2, extent / 2), length=steps)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.quiver(*np.asarray(mesh).T, *arrows.T, angles="xy", color="0.6")
    axes.plot(*np.asarray(path).T)
    axes.set(xlabel="generator", ylabel="discriminator", xlim=(-extent, extent), ylim=(-extent, extent))
    return figure


def spectrum(values: Complex[np.ndarray, " eigenvalues"]) -> "Figure":
    """Eigenvalues of a game's Jacobian in the complex plane.

    Args:
        values: What `chainlab.gan.game_eigenvalues` gives.

    Returns:
        A figure; left of the line gradient descent is repelled.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.6", linewidth=1)
    axes.scatter(np.real(values), np.imag(values), s=14)
    axes.set(xlabel="real part", ylabel="imaginary part")
    return figure


def interpolation(ends: Float[Array, "rows 2 latent"], steps: int) -> Float[Array, "rows steps latent"]:
    r"""Latent vectors along the great circle between pairs, so that each is as typical as its ends.

    Args:
        ends: Pairs of latent vectors.
        steps: Points on each path, ends included.

    Returns:
        The paths.

    References:
        White, Sampling Generative Networks, arXiv:1609.04468, section 2.1.
    """
    first, last = ends[:, :1], ends[:, 1:]
    norm = lambda x: jnp.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    cosine = jnp.sum(first * last, axis=-1, keepdims=True) / (norm(first) * norm(last))
    angle = jnp.arccos(jnp.clip(cosine, -0.9999, 0.9999))
    t = jnp.linspace(0, 1, steps)[None, :, None]
    return (jnp.sin((1 - t) * angle) * first + jnp.sin(t * angle) * last) / jnp.sin(angle)


def sample_panels(
    problem: "Problem",
    make: Callable[[Float[Array, "count latent"], Any], Array],
    sample: Callable[[PRNGKey, int], Float[Array, "count latent"]],
) -> "list[tuple[str, Figure, str]]":
    """What a generator makes: points beside real ones, or a grid of images and one of interpolations.

    Args:
        problem: What is imitated.
        make: `make(z, labels) -> examples`; the labels are None for an unconditional generator.
        sample: Draws latent vectors.

    Returns:
        Title, figure and note of each panel.
    """
    key, other = jax.random.split(jax.random.key(5))
    if problem.mixture is not None:
        real = problem.data.splits["test"]["x"][:5000]
        return [("Samples", scatter(real, make(sample(key, 5000), None)), "In units of the data's deviation.")]
    columns, rows = 10, problem.classes or 5
    labels = jnp.repeat(jnp.arange(rows, dtype=jnp.int32), columns) if problem.classes else None
    ends = sample(other, 2 * rows).reshape(rows, 2, -1)
    paths = interpolation(ends, columns).reshape(rows * columns, -1)
    sheet = lambda z: picture_grid(make(z, labels).reshape(rows, columns, *problem.shape))  # noqa: E731
    note = "One row a class." if problem.classes else ""
    return [
        ("Samples", sheet(sample(key, rows * columns)), note),
        ("Interpolations", sheet(paths), f"Between two latent vectors a row. {note}".strip()),
    ]


def snapshot_panels(
    problem: "Problem",
    make: Callable[[Params, Float[Array, "count latent"], Any], Array],
    sample: Callable[[PRNGKey, int], Float[Array, "count latent"]],
    snapshots: Params,
    step: int,
) -> "list[tuple[str, Figure, str]]":
    """What a generator made on the way, from the same latent vectors at every snapshot.

    Args:
        problem: What is imitated.
        make: `make(params, z, labels) -> examples`.
        sample: Draws latent vectors.
        snapshots: Those of a `GameState`.
        step: Steps made.

    Returns:
        Title, figure and note of each panel; none without a snapshot.
    """
    leaves = jax.tree.leaves(snapshots)
    steps = snapshot_steps(leaves[0].shape[0], step) if leaves else []
    if not steps:
        return []
    key, other = jax.random.split(jax.random.key(5))

    def over_training(z: Float[Array, "count latent"], labels: Any) -> Array:
        return jax.vmap(lambda params: make(params, z, labels))(snapshots)[: len(steps)]

    if problem.mixture is not None:
        shown = over_training(sample(key, 2000), None)[-5:]
        clouds = {f"step {at}": points for at, points in zip(steps[-5:], shown, strict=True)}
        return [("Samples over training", _clouds(clouds, 2.4), "From the same latent vectors.")]
    columns, many = 10, problem.classes
    labels = jnp.arange(columns, dtype=jnp.int32) % many if many else None
    path = interpolation(sample(other, 2)[None], columns)[0]
    rows = f"Rows: steps {', '.join(map(str, steps))}."
    return [
        ("Samples over training", picture_grid(over_training(sample(key, columns), labels)), rows),
        (
            "An interpolation over training",
            picture_grid(over_training(path, jnp.zeros(columns, jnp.int32) if many else None)),
            rows,
        ),
    ]
