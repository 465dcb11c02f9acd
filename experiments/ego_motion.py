"""Acceleration and steering on a comma2k19 segment, by a Kalman filter fitted through its own recursion."""

from typing import Annotated, Any

from annotated_types import Ge

import chainlab
from chainlab.optim.config import OptimizerConfig

_HORIZONS = (2, 10, 20)  # steps of 0.05 s
_SETTLING = 20  # steps before an estimate counts: the filter starts from a wide prior


@chainlab.config
class EgoMotionConfig:
    """A Kalman filter of the ego motion, fitted on the first half of a segment and judged on the second."""

    segment: str = "driving/comma2k19/Example_1_seg40"
    """The segment's folder, or where it is under $CHAINLAB_DATA."""
    seconds: Annotated[float, Ge(3)] = 60.0
    """How much of the segment is used: its first half to fit, its second to judge."""
    error_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the error of the estimates without the steering sensor, beside the likelihood of all sensors."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=0.05)
    """Any optimiser of optax, by its name and with its own arguments."""


@chainlab.experiment
def ego_motion(config: EgoMotionConfig) -> "chainlab.Task":
    """Fit the filter's constants and noise levels by the gradient through the filter."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from chainlab import driving, lab, nn, optim
    from chainlab.data import Data

    log = driving.read_comma(config.segment)
    assert log.motion is not None
    # the sensors start a little after the first frame
    used = slice(2, int(np.searchsorted(log.motion.time, log.motion.time[0] + config.seconds)))
    times = log.motion.time[used]
    whole = {
        "sensors": driving.motion_sensors(log, times),
        "acceleration": log.motion.acceleration[used],
        "steering": log.motion.steering[used],
        "scored": jnp.arange(len(times)) >= len(times) // 2,
    }
    whole = jax.tree.map(lambda x: jnp.asarray(x, bool if x.dtype == bool else jnp.float32), whole)
    half = jax.tree.map(lambda x: x[: len(times) // 2], whole)
    half["scored"] = jnp.arange(len(times) // 2) >= _SETTLING
    car = driving.EgoMotionFilter(interval=0.05)

    def estimates(params: Any, batch: Any) -> tuple[Any, Any]:
        """The filter without the steering sensor, and with it."""
        withheld = batch["sensors"]._replace(steering=jnp.full_like(batch["steering"], jnp.nan))
        return car.filter(params, withheld), car.filter(params, batch["sensors"])

    def scores(params: Any, batch: Any, filtered: Any, prefix: str = "") -> dict[str, Any]:
        now = car.estimates(params, filtered.posterior.mean)
        return {
            f"{prefix}{name}_r2": r_squared(getattr(now, name), batch[name], batch["scored"])
            for name in ("acceleration", "steering")
        }

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        del key
        withheld, fused = estimates(params, batch)
        metrics = scores(params, batch, withheld)
        error = sum(1 - value for value in metrics.values())
        return config.error_weight * error - jnp.mean(fused.log_likelihood), metrics

    def evaluate(params: Any, batch: Any) -> dict[str, Any]:
        withheld, fused = estimates(params, batch)
        metrics = scores(params, batch, withheld) | scores(params, batch, fused, "fused_")
        ahead = {steps: car.forecast(params, fused, steps) for steps in _HORIZONS}
        for name in ("acceleration", "steering"):
            wanted, scored = batch[name], batch["scored"]
            metrics[f"smoothed_{name}_r2"] = r_squared(getattr(car.smooth(params, withheld), name), wanted, scored)
            for steps in _HORIZONS:
                label, later, counted = f"{0.05 * steps:.1f}s", wanted[steps:], scored[steps:]
                forecast = getattr(ahead[steps], name)[:-steps]
                metrics[f"forecast_{name}_r2_{label}"] = r_squared(forecast, later, counted)
                metrics[f"persistence_{name}_r2_{label}"] = r_squared(wanted[:-steps], later, counted)
        return metrics

    def r_squared(got: Any, wanted: Any, scored: Any) -> Any:
        mean = jnp.mean(wanted, where=scored)
        residual, spread = jnp.square(got - wanted), jnp.square(wanted - mean)
        return 1 - jnp.sum(residual, where=scored) / jnp.sum(spread, where=scored)

    return lab.supervised(
        nn.Model(car.init, lambda params, sensors: car.filter(params, sensors)),
        objective,
        optim.build(config.optimizer),
        Data(half, lambda key, position: position, lambda arrays, plan: arrays, {"test": whole}, 1, log.origin),
        evaluate=evaluate,
        panels=lambda state, folder: [
            _table(evaluate(state.params, whole)),
            _traces(estimates, car, state.params, whole),
        ],
    )


def _table(metrics: Any) -> "chainlab.Panel":
    """What was estimated from what, on the second half."""
    rows = [
        {"estimate": label, **{name: round(float(metrics[f"{key}{name}_r2{after}"]), 3) for name in _QUANTITIES}}
        for label, key, after in _ROWS
    ]
    note = (
        "R² on the second half. Acceleration is judged against the pose, which no sensor of the filter enters."
        " With the steering sensor, steering at 0 s is judged against that sensor itself."
    )
    return chainlab.Panel("Estimates on the second half", rows=rows, note=note)


_QUANTITIES = ("acceleration", "steering")
_ROWS = [
    ("now, without the steering sensor", "", ""),
    ("now, all sensors", "fused_", ""),
    ("afterwards, without the steering sensor", "smoothed_", ""),
    *((f"{kind}, {0.05 * steps:.1f} s ahead", f"{kind}_", f"_{0.05 * steps:.1f}s") for steps in _HORIZONS
      for kind in ("forecast", "persistence")),
]  # fmt: skip


def _traces(estimates: Any, car: Any, params: Any, whole: Any) -> "chainlab.Panel":
    """Estimate and reference over the second half."""
    import numpy as np
    from matplotlib.figure import Figure

    now = car.estimates(params, estimates(params, whole)[0].posterior.mean)
    scored = np.asarray(whole["scored"])
    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, name, unit in zip(figure.subplots(2, sharex=True), _QUANTITIES, ("m/s²", "rad"), strict=True):
        seconds = 0.05 * np.arange(len(scored))[scored]
        axes.plot(seconds, np.asarray(whole[name])[scored], label="reference", linewidth=1)
        axes.plot(seconds, np.asarray(getattr(now, name))[scored], label="estimate", linewidth=1)
        axes.set(ylabel=f"{name} / {unit}")
        axes.legend()
    axes.set(xlabel="time / s")
    return chainlab.Panel("Without the steering sensor", figure)
