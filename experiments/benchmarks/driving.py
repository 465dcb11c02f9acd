"""Driving: gradients through the world, what LiDAR may know, rates of the simulator, and a step against PyTorch."""

import os
import statistics
from pathlib import Path
from typing import Any

from chainlab.experiments.benchmarks.driving_comma import ego_motion

from chainlab.lab.bench import Row, compare, ratios

_PEERS = Path(__file__).parent / "peers"
_OURS, _TORCH = (_PEERS / "driving_chainlab.py", "chainlab"), (_PEERS / "driving_torch.py", "torch")
_THREADS = min(2, len(os.sched_getaffinity(0)))
_EARLIER = {"frames": 4203, "dynamics": 508_198}  # pairs/s and steps/s of the trial that the goals triple


def gradient() -> list[Row]:
    """Automatic against finite differences through renderer, policy and dynamics, three steps, in float64."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from chainlab import driving

    rows: list[Row] = []
    with jax.enable_x64(True):
        scene = driving.sample_scene(jax.random.key(2), "following")
        rng = np.random.default_rng(0)
        weights = jnp.asarray(0.01 * rng.normal(size=(32 * 80 + 4 * 64, 2)))
        point = (weights, jnp.array(9.0), jnp.array(0.01))
        along = (jnp.asarray(rng.normal(size=weights.shape)), jnp.array(0.7), jnp.array(0.4))

        def drive(point: Any) -> Any:
            weights, speed, yaw = point
            condition = driving.Condition(fog=0.01, miscalibration=yaw)

            def step(ego: Any, _: Any) -> Any:
                image = driving.render(scene.road, ego, scene.now.cars, condition, jax.random.key(1))
                ranges = driving.sweep(ego, scene.now.cars, condition, jax.random.key(1), road=scene.road)
                out = jnp.concatenate([image.ravel(), ranges.ravel() / 70]) @ weights
                ego = driving.kinematic(ego, driving.Command(0.3 * jnp.tanh(out[0]), jnp.tanh(out[1])), 0.1)
                return ego, driving.locate(scene.road, ego.x, ego.y).offset ** 2 + 0.01 * ego.speed

            return jnp.sum(jax.lax.scan(step, scene.now.ego._replace(speed=speed), length=3)[1])

        value, h = jax.jit(drive), 1e-5
        at = lambda s: value(jax.tree.map(lambda p, d: p + s * d, point, along))  # noqa: E731
        wanted = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        found = jax.jit(jax.grad(drive))(point)
        got = sum(jnp.vdot(g, d) for g, d in zip(found, along, strict=True))
        error = abs(float(got - wanted)) / abs(float(wanted))
    case = "gradient of a drive through camera, LiDAR, policy and bicycle against central differences, relative"
    rows.append(Row("driving/gradient", case, error, "<= 1e-7"))
    return rows


def leak() -> list[Row]:
    """What the exact positions of the cars tell of the expert's steering: the level to expect of LiDAR alone."""
    import jax

    from chainlab import driving

    clear, rows = driving.condition("clear"), []
    for layout in ("independent", "following"):
        # the pictures of such a sample are dropped, and so never drawn
        bare = lambda key, layout=layout: _bare(driving.sample(key, clear, layout))  # noqa: E731
        draw = jax.jit(lambda keys, bare=bare: jax.vmap(bare)(keys))
        train, test = (draw(jax.random.split(jax.random.key(seed), 8192)) for seed in (0, 1))
        found = driving.oracle(train, test)["steering"]
        case, goal = f"R² of steering from car positions, {layout} layout", "<= 0.02"
        rows.append(Row("driving/leak", case, found, goal if layout == "independent" else ""))
    return rows


def _bare(sample: Any) -> Any:
    return sample._replace(observation=sample.observation._replace(camera=(), lidar=()))


def rates(rounds: int) -> list[Row]:
    """Frame pairs and expert steps a second, on two threads where there are two cores."""
    rows: list[Row] = []
    for form, what, case, work in (
        ("frames", "camera and LiDAR frame pairs", {"batch": 256}, 512),
        ("dynamics", "expert and dynamics steps", {"batch": 2048, "steps": 200}, 2048 * 200),
    ):
        case = {**case, "form": form}
        options = {"ours": "chainlab", "rounds": rounds, "repeat": 4, "threads": _THREADS, "tolerance": None}
        timings, _, _ = compare(case, {"chainlab": _OURS}, **options)
        found = [4 * work / row["seconds"] for row in timings["chainlab"]]
        goal, spread = f">= {3 * _EARLIER[form]}", (min(found), max(found))
        rows.append(
            Row(
                f"driving/{form}", f"{what} a second, {_THREADS} threads", statistics.median(found), goal, spread=spread
            )
        )
    return rows


def against_torch(rounds: int) -> list[Row]:
    """A training step of the concatenating policy against PyTorch."""
    case = {"batch": 64, "dim": 16, "hidden": 128, "learning_rate": 1e-3, "steps": 20, "threads": _THREADS}
    forms: dict[str, dict[str, Any]] = {
        "chainlab": {"form": "training"},
        "torch eager": {"form": "eager"},
        "torch eager, fused Adam": {"form": "eager", "adam": {"fused": True}},
        "torch.compile, fused Adam": {"form": "compile", "adam": {"fused": True}},
    }
    contenders = {name: _OURS if name == "chainlab" else _TORCH for name in forms}
    timings, _, missing = compare(
        case, contenders, forms=forms, ours="chainlab", rounds=rounds, threads=_THREADS, tolerance=1e-3
    )
    milliseconds = {
        n: 1e3 * statistics.median(r["seconds"] for r in rows) / case["steps"] for n, rows in timings.items()
    }
    note = ", ".join(f"{name} {value:.2f} ms" for name, value in milliseconds.items())
    rows: list[Row] = []
    for name in list(forms)[1:]:
        label = f"speed of a training step over {name}, batch 64, {_THREADS} threads"
        if name in missing:
            rows.append(Row("driving/step", label, None, ">= 1.2", {name: None}, note=missing[name]))
            continue
        median, low, high = ratios(timings, "chainlab")[name]
        rows.append(Row("driving/step", label, median, ">= 1.2", {name: milliseconds[name]}, (low, high), note))
    return rows


def bench(rounds: int = 7) -> list[Row]:
    """Every figure of driving that needs no training but that of a Kalman filter's covariances."""
    return [*gradient(), *leak(), *rates(rounds), *against_torch(rounds), *ego_motion()]
