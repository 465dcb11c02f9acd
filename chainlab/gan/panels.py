"""Pictures of a generator for a run's report, and phase portraits of small games."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.gan.game import Game, Players, vector_field

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chainlab.gan.imitation import Generate, Problem


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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    sides = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, points, title in zip(sides, (real, fake), ("real", "generated"), strict=True):
        axes.scatter(*np.asarray(points).T, s=1, alpha=0.4)
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


def sample_panels(problem: "Problem", generate: "Generate") -> list[tuple[str, Any, str]]:
    """What a generator makes, beside real examples.

    Args:
        problem: What is imitated.
        generate: `generate(labels, count) -> examples`.

    Returns:
        Title, figure and note of each panel.
    """
    if problem.mixture is not None:
        real = problem.data.splits["test"]["x"][:5000]
        return [("Samples", scatter(real, generate(None, 5000)), "5,000 points, in units of the data's deviation.")]
    columns = 10
    rows = max(problem.classes, 1) if problem.classes else 5
    labels = jnp.repeat(jnp.arange(rows, dtype=jnp.int32), columns) if problem.classes else None
    fake = generate(labels, rows * columns).reshape(rows, columns, *problem.shape)
    note = "One row a class." if problem.classes else ""
    return [("Samples", picture_grid(fake), note)]
