"""Barren plateaus: the variance of a random circuit's gradient against its number of qubits."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen

import chainlab


@chainlab.config
class BarrenPlateauConfig:
    """Random circuits of rotations and ladders of CZ, differentiated by parameter shift."""

    qubits: Annotated[tuple[Annotated[int, Ge(2)], ...], MinLen(2)] = (2, 4, 6, 8, 10)
    """Numbers of qubits."""
    cost: Literal["global", "local"] = "global"
    """Z on every qubit, or on the first two."""
    layers_per_qubit: Annotated[int, Ge(0)] = 10
    """Layers of the circuit for each qubit."""
    layers: Annotated[int, Ge(0)] = 0
    """Further layers, whatever the number of qubits."""
    draws: Annotated[int, Gt(0)] = 20
    """Circuits drawn of each size in a step."""
    steps: Annotated[int, Gt(0)] = 20
    """Steps whose draws are kept; give `run.steps` the same number."""


@chainlab.experiment
def barren_plateau(config: BarrenPlateauConfig) -> chainlab.Task:
    """Draw gradients of random circuits and fit how their variance falls."""
    import jax
    import jax.numpy as jnp

    from chainlab import data, quantum

    gradients = [
        quantum.plateau_gradient(n, max(1, config.layers_per_qubit * n + config.layers), config.cost)
        for n in config.qubits
    ]
    total = config.draws * config.steps

    def init(key: Any) -> dict[str, Any]:
        del key
        return {"count": jnp.zeros((), jnp.int32), "draws": jnp.zeros((len(config.qubits), total))}

    def step(state: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        del batch
        found = []
        for index, gradient in enumerate(gradients):
            keys = jax.random.split(jax.random.fold_in(key, index), config.draws)
            found.append(jax.lax.map(gradient, keys, batch_size=min(config.draws, 8)))
        new = jnp.stack(found)
        start = (state["count"] % config.steps) * config.draws
        draws = jax.lax.dynamic_update_slice(state["draws"], new, (jnp.zeros_like(start), start))
        return {"count": state["count"] + 1, "draws": draws}, {"variance": jnp.mean(jnp.square(new))}

    def evaluate(state: Any, split: Any) -> dict[str, Any]:
        del split
        slope = quantum.slope_interval(config.qubits, state["draws"])
        variances = {f"variance{n}": jnp.var(row) for n, row in zip(config.qubits, state["draws"], strict=True)}
        return {"slope": slope.value, "slope_low": slope.low, "slope_high": slope.high, **variances}

    def subjects(state: Any) -> dict[str, chainlab.Subject]:
        """One circuit of the smallest size."""
        del state
        value, shape = quantum.plateau_cost(config.qubits[0], config.cost), (2, config.qubits[0])
        axes = jax.random.randint(jax.random.key(1), shape, 0, 3)
        angles = jax.random.uniform(jax.random.key(2), shape, maxval=2 * jnp.pi)
        return {"objective": chainlab.Subject(lambda own, batch, key: (value(own, axes), {}), angles)}

    batches = data.sampled(lambda key: {}, splits={"test": {}}, origin=data.Origin("random circuits"))
    return chainlab.Task(init, step, evaluate, batches, subjects, lambda state, _: [_panel(config, state)])


def _panel(config: BarrenPlateauConfig, state: Any) -> chainlab.Panel:
    """Variance against qubits with the fitted line."""
    import numpy as np
    from matplotlib.figure import Figure

    from chainlab import quantum

    slope = quantum.slope_interval(config.qubits, state["draws"])
    qubits, variances = np.array(config.qubits), np.var(np.asarray(state["draws"]), axis=1)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(qubits, variances, "o", label="drawn circuits")
    level = np.exp(np.mean(np.log(variances)) + float(slope.value) * (qubits - qubits.mean()))
    axes.semilogy(
        qubits, level, label=f"slope {float(slope.value):.3f} [{float(slope.low):.3f}, {float(slope.high):.3f}]"
    )
    axes.set(xlabel="qubits", ylabel="variance of the gradient", title=f"{config.cost} cost")
    axes.legend()
    rows = [{"qubits": int(n), "variance": f"{v:.3g}"} for n, v in zip(qubits, variances, strict=True)]
    return chainlab.Panel("Variance of the gradient", figure, rows, "Slope of its logarithm, 95 % interval.")
