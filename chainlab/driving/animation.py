"""A drive as an animation: camera with LiDAR, and the road from above."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from chainlab.driving.conditions import Condition
from chainlab.driving.figures import draw_box, draw_camera, draw_world
from chainlab.driving.road import locate
from chainlab.driving.scene import Snapshot
from chainlab.driving.simulation import Driver, look
from chainlab.driving.traffic import LENGTH, OVERHANG
from chainlab.driving.trip import TICK, Route, Trip, move, start
from chainlab.typing import Params, PRNGKey


class Film(NamedTuple):
    """A drive with what its sensors saw, tick by tick.

    Attributes:
        alive: 1 while the drive lasts.
        now: Ego and cars.
        camera: The later frame of each observation.
        lidar: The later sweep of each observation, m.
        offset: Distance left of the lane's centre, m.
    """

    alive: Float[Array, " time"]
    now: Snapshot
    camera: Float[Array, "time rows columns"]
    lidar: Float[Array, "time rings beams"]
    offset: Float[Array, " time"]


def film(
    driver: Driver, params: Params, route: Route, condition: Condition, key: PRNGKey, *, seconds: float = 20.0
) -> Film:
    """Drive a route and keep what the sensors saw.

    Args:
        driver: Who drives.
        params: Its parameters.
        route: The route.
        condition: The condition.
        key: Randomness of the sensors.
        seconds: How long.

    Returns:
        The film.
    """

    def tick(trip: Trip, key: PRNGKey) -> tuple[Trip, Film]:
        observation, scene = look(route, trip, condition, key)
        after = move(route, trip, driver(params, observation, scene))
        offset = locate(route.road, trip.ego.x, trip.ego.y).offset
        return after, Film(trip.alive, scene.now, observation.camera[1], observation.lidar[1], offset)

    return jax.lax.scan(tick, start(route), jax.random.split(key, round(seconds / TICK)))[1]


def animate(shot: Film, route: Route, path: Path, *, title: str = "") -> int:
    """Write a film as a GIF, at the speed it was driven.

    Args:
        shot: The film.
        route: The route.
        path: The file to write.
        title: A line above the pictures.

    Returns:
        Frames written; the film ends with the drive.
    """
    from matplotlib.animation import PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames = max(int(np.sum(np.asarray(shot.alive) > 0)), 1)
    figure = Figure(figsize=(8, 3.2), dpi=80)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.88, 0.03)
    writer = PillowWriter(fps=round(1 / TICK))
    with writer.saving(figure, str(path), dpi=80):
        for i in range(frames):
            _frame(left, right, jax.tree.map(lambda leaf, i=i: leaf[i], shot), route)
            figure.suptitle(f"{title}  {i * TICK:.1f} s", fontsize=9)
            writer.grab_frame()
    return frames


def _frame(left: Any, right: Any, shot: Film, route: Route) -> None:
    left.clear()
    right.clear()
    draw_camera(left, shot.camera, shot.lidar)
    ego, cars = shot.now
    draw_world(right, route.road, float(ego.x), cars)
    x, y, heading = float(ego.x), float(ego.y), float(ego.heading)
    ahead = LENGTH / 2 - OVERHANG  # of the body's middle from the rear axle
    draw_box(right, x + ahead * np.cos(heading), y + ahead * np.sin(heading), heading, "tab:red")
    right.set(xlim=(x - 15, x + 60), ylim=(y - 20, y + 20), xticks=[], yticks=[], aspect="equal")
    left.set_title(f"{float(ego.speed):.1f} m/s, {float(shot.offset):+.2f} m from the lane's centre", fontsize=8)
