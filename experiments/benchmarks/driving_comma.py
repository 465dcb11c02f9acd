"""Ego motion on comma2k19's minute: part of the driving benchmark."""

from chainlab.errors import MissingDataError
from chainlab.lab.bench import Row

_SEEDS = 3


def ego_motion() -> list[Row]:
    """R² on the second half of the minute, fitted on the first, with the rows that put it in its place."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from chainlab.lab.config import load
    from chainlab.lab.loop import build

    document = load("ego_motion/comma2k19", [])
    try:
        task, steps = document.task(), document.envelope.run.steps
    except MissingDataError as error:
        case = "R² on the second half of comma2k19's minute"
        return [Row("driving/comma2k19", case, None, ">= 0.9", note=str(error))]
    loop = build(task, range(_SEEDS), steps)
    replica, _ = loop.steps(loop.start(), 0, steps, jax.tree.map(jnp.asarray, task.data.arrays))
    scores = {name: np.asarray(value) for name, value in loop.evaluate(replica, task.data.splits["test"]).items()}

    def row(name: str, case: str, goal: str = "", note: str = "") -> Row:
        values = scores[name]
        quantity = "acceleration" if "acceleration" in name else "steering"
        peers = {
            f"persistence of {label}": float(scores[f"persistence_{quantity}_r2_{label}"].mean())
            for label in ("0.1s", "0.5s", "1.0s")
        }
        spread = float(values.min()), float(values.max())
        return Row(f"driving/comma2k19-{name}", case, float(values.mean()), goal, peers, spread, note)

    return [
        row("acceleration_r2", "R² of acceleration now, from IMU and wheels, against the pose", ">= 0.9"),
        row(
            "steering_r2",
            "R² of steering now, from IMU and wheels, without the steering sensor",
            ">= 0.9",
            "gyroscope and steering wheel are coherent enough for about 0.75 on this half, with any linear estimator",
        ),
        row("smoothed_steering_r2", "R² of steering afterwards (smoothed), without the steering sensor"),
        row(
            "fused_steering_r2",
            "R² of steering now, all sensors, against its own sensor",
            ">= 0.9",
            "the reference is among the sensors",
        ),
        *(
            row(f"forecast_{quantity}_r2_{label}", f"R² of {quantity} {label} ahead")
            for quantity in ("acceleration", "steering")
            for label in ("0.1s", "0.5s", "1.0s")
        ),
    ]
