"""Pictures for reports: what the sensors see, where a policy drove, and tables of failures as heat maps."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array

from chainlab.driving.camera import CAMERA
from chainlab.driving.conditions import CONDITIONS, UNSEEN, condition
from chainlab.driving.lidar import LIDAR, points
from chainlab.driving.policy import Policy
from chainlab.driving.projection import project
from chainlab.driving.road import LANE_WIDTH, Road, at
from chainlab.driving.scene import Layout, sample
from chainlab.driving.simulation import Drive, drive, expert_driver, network_driver
from chainlab.driving.traffic import LENGTH, WIDTH, Cars
from chainlab.driving.trip import TICK, sample_route
from chainlab.driving.vehicle import Command
from chainlab.typing import Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Drawn = tuple[str, "Figure", Sequence[Mapping[str, Any]], str]


def draw_camera(axes: "Axes", image: Array, ranges: Array) -> None:
    """A camera frame with the LiDAR's returns projected into it, coloured by distance.

    Args:
        axes: Where to draw.
        image: The frame.
        ranges: The sweep, m.
    """
    axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=1)
    seen = project(points(ranges), CAMERA.camera_from_vehicle, CAMERA.intrinsics)
    shown = np.asarray(seen.visible(*image.shape)) & (np.asarray(ranges) < LIDAR.reach)
    axes.scatter(
        *np.asarray(seen.pixels)[shown].T,
        c=np.asarray(seen.depth)[shown],
        s=5,
        cmap="turbo",
        vmin=0,
        vmax=50,
        linewidths=0,
    )
    axes.set_axis_off()


def draw_world(axes: "Axes", road: Road, middle: float, cars: Cars | None = None, reach: float = 60.0) -> None:
    """The road from above around a place, with its lines, its banks and the other cars.

    Args:
        axes: Where to draw.
        road: The road.
        middle: World x to show the surroundings of, m.
        cars: The other cars.
        reach: How far to show, m.
    """
    x = np.linspace(middle - reach / 3, middle + reach, 200)
    lines = [(-LANE_WIDTH / 2, "-", "0.5"), (LANE_WIDTH / 2, "--", "0.5"), (1.5 * LANE_WIDTH, "-", "0.5")]
    if road.banks is not None:
        left, right = map(float, road.banks)
        lines += [(foot, "-", "tab:green") for foot in (left, -right) if abs(foot) < reach]
    for offset, style, colour in lines:
        line = at(road, jax.numpy.asarray(x), jax.numpy.full(x.shape, offset))
        axes.plot(*(np.asarray(part) for part in line[:2]), style, color=colour, linewidth=0.8)
    for pose in zip(*(np.asarray(leaf) for leaf in cars[:3]), strict=True) if cars is not None else ():
        draw_box(axes, *map(float, pose), colour="tab:blue")


def draw_box(axes: "Axes", x: float, y: float, heading: float, colour: str) -> None:
    """A car from above.

    Args:
        axes: Where to draw.
        x: Its middle, m.
        y: Its middle, m.
        heading: rad.
        colour: Of the body.
    """
    c, s = np.cos(heading), np.sin(heading)
    corner = np.array([[-LENGTH, -WIDTH], [LENGTH, -WIDTH], [LENGTH, WIDTH], [-LENGTH, WIDTH]]) / 2
    axes.fill(x + corner @ [c, -s], y + corner @ [s, c], color=colour)


def sensor_panel(names: Sequence[str], layout: Layout) -> "Figure":
    """Two scenes in every condition: camera with projected LiDAR, and the sweep from above.

    Args:
        names: The conditions.
        layout: How the cars are laid out.

    Returns:
        A figure.
    """
    from matplotlib.figure import Figure

    look = jax.jit(jax.vmap(lambda key, c: sample(key, c, layout).observation, (0, None)))
    figure = Figure(figsize=(10, 1.5 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), 4, squeeze=False, width_ratios=(3, 1.2, 3, 1.2))
    for row, name in zip(grid, names, strict=True):
        seen = look(jax.random.split(jax.random.key(3), 2), condition(name))
        for i in range(2):
            draw_camera(row[2 * i], seen.camera[i, 1], seen.lidar[i, 1])
            ranges = np.asarray(seen.lidar[i, 1])
            cloud = np.asarray(points(seen.lidar[i, 1]))[ranges < LIDAR.reach]
            row[2 * i + 1].scatter(-cloud[:, 1], cloud[:, 0], c=cloud[:, 2] > 0.2, s=2, cmap="coolwarm")
            row[2 * i + 1].set(xlim=(-15, 15), ylim=(0, 50), xticks=[], yticks=[], aspect="equal")
        row[0].set_title(name.replace("_", " "), loc="left", fontsize=8)
    return figure


def path_panel(road: Road, drives: Mapping[str, Drive]) -> "Figure":
    """Where drives went, against the lane, and how far from its centre.

    Args:
        road: The road.
        drives: Single drives by name.

    Returns:
        A figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    above, offset = figure.subplots(2, 1)
    first = next(iter(drives.values()))
    start, reach = float(first.x[0]), max(float(np.max(d.x)) for d in drives.values())
    draw_world(above, road, start, reach=max(reach - start, 30.0))
    for name, driven in drives.items():
        alive = np.asarray(driven.alive) > 0
        above.plot(np.asarray(driven.x)[alive], np.asarray(driven.y)[alive], label=name, linewidth=1.2)
        offset.plot(TICK * np.flatnonzero(alive), np.asarray(driven.offset)[alive], label=name, linewidth=1.2)
    above.set(xlabel="x in m", ylabel="y in m")
    above.legend()
    offset.axhspan(-LANE_WIDTH / 2, LANE_WIDTH / 2, color="0.93")
    offset.set(xlabel="time in s", ylabel="offset from the lane in m")
    return figure


def failure_table(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The last evaluation of a run as rows of R²: mean over seeds of fusion, best single sensor, ego and margin.

    Args:
        folder: The run folder.
        names: The conditions.

    Returns:
        One row a condition and target; `half_width` is the margin's 95 % interval over seeds.
    """
    from scipy.stats import t

    last: dict[str, Mapping[str, Any]] = {}
    metrics = folder / "metrics.jsonl"
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        entry = json.loads(line)
        last[entry["split"]] = entry["metrics"]
    rows: list[dict[str, Any]] = []
    for name in names:
        found = last.get(name, {})
        for target in Command._fields:
            if f"margin_{target}" not in found:
                continue
            values = {who: np.atleast_1d(found[f"{who}_{target}"]) for who in ("fusion", "best", "ego", "margin")}
            seeds = len(values["margin"])
            spread = float(np.std(values["margin"], ddof=1)) if seeds > 1 else float("nan")
            half = float(t.ppf(0.975, seeds - 1)) * spread / seeds**0.5 if seeds > 1 else None
            means = {who: round(float(np.mean(value)), 4) for who, value in values.items()}
            met = "yes" if means["margin"] >= -0.02 else "NO"
            rows.append({"condition": name, "target": target, **means, "half_width": half, "never worse": met})
    return rows


def failure_map(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """A table of failures as a heat map: R² of fusion, of the best single sensor, and the margin.

    Args:
        rows: What `failure_table` gives.

    Returns:
        A figure.
    """
    from matplotlib.figure import Figure

    labels = [f"{row['condition']}, {row['target']}" for row in rows]
    values = np.array([[row["ego"], row["best"], row["fusion"]] for row in rows])
    margins = np.array([[row["margin"]] for row in rows])
    figure = Figure(figsize=(7, 0.3 * len(rows) + 1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    left.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    right.imshow(margins, vmin=-0.1, vmax=0.1, cmap="RdBu", aspect="auto")
    left.set(xticks=range(3), xticklabels=["ego", "best sensor", "fusion"], yticks=range(len(rows)), yticklabels=labels)
    right.set(xticks=[0], xticklabels=["margin"], yticks=[])
    for axes, numbers in ((left, values), (right, margins)):
        for i, j in np.ndindex(numbers.shape):
            light = numbers[i, j] < 0.6 if axes is left else abs(numbers[i, j]) > 0.06
            axes.text(j, i, f"{numbers[i, j]:.3f}", ha="center", va="center", fontsize=7, color="w" if light else "k")
    return figure


def report(policy: Policy, params: Params, names: Sequence[str], layout: Layout, folder: Path) -> list[Drawn]:
    """What a driving run's report shows: sensors, failures, and a drive in each of a few conditions.

    Args:
        policy: The policy.
        params: Its parameters.
        names: The conditions of the run.
        layout: How its cars are laid out.
        folder: The run folder, whose metrics hold the table.

    Returns:
        Title, figure, rows and note of each panel.
    """
    note = "R² of the expert's command; margin is fusion less the best single sensor, mean over seeds."
    drawn: list[Drawn] = []
    for title, known in (("Failures", CONDITIONS), ("Failures never trained on", UNSEEN)):
        rows = failure_table(folder, [name for name in names if name in known])
        drawn += [(title, failure_map(rows), rows, note)] if rows else []
    seen = "Camera with LiDAR returns projected into it, coloured by distance; beside it the sweep from above."
    drawn.append(("Sensors", sensor_panel(names, layout), (), seen))
    route = sample_route(jax.random.key(11))
    go = jax.jit(lambda p, c: drive(network_driver(policy), p, route, c, jax.random.key(12)))
    drives = {name: go(params, condition(name)) for name in list(names)[:4]}
    drives["expert"] = jax.jit(lambda c: drive(expert_driver, None, route, c, jax.random.key(12)))(condition("clear"))
    drawn.append(
        ("Driven path", path_panel(route.road, drives), (), "One route of 20 s; it ends where the lane is lost.")
    )
    return drawn
