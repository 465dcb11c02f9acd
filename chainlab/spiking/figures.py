"""What a report shows of a spiking network: rasters, membranes, firing rates, and the gradient audit."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainlab.spiking.network import Network
from chainlab.spiking.neuron import Neuron
from chainlab.typing import Params

Record = Mapping[str, Mapping[str, Any]]


def raster(record: Record, *, example: int = 0, most: int = 200) -> Any:
    """Every spike of one example: a dot for each, layer above layer.

    Args:
        record: What `Network.record` returned, batch first among its axes after time.
        example: Which example of the batch.
        most: Neurons drawn of each layer.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    layers = {name: _one(kept["outputs"], example)[:, :most] for name, kept in record.items()}
    layers = {name: spikes for name, spikes in layers.items() if np.isin(spikes, (0, 1)).all()}
    figure = Figure(figsize=(7, 1.2 + 1.6 * max(1, len(layers))), layout="constrained")
    axes = figure.subplots(max(1, len(layers)), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, spikes) in zip(axes, layers.items(), strict=False):
        step, neuron = np.nonzero(spikes)
        axis.plot(step, neuron, "|", markersize=3, color="black")
        axis.set(ylabel=f"{name}\n(neuron)", ylim=(-1, spikes.shape[1]), xlim=(-1, spikes.shape[0]))
    axes[-1].set_xlabel("time step")
    return figure


def membranes(record: Record, network: Network, *, example: int = 0, neurons: int = 4) -> Any:
    """Membrane potentials of a few neurons of each layer, with their thresholds and spikes.

    Args:
        record: What `Network.record` returned.
        network: The network, for thresholds.
        example: Which example of the batch.
        neurons: How many neurons of each layer, the most active ones.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 1.6 * len(record)), layout="constrained")
    axes = figure.subplots(len(record), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, kept) in zip(axes, record.items(), strict=True):
        membrane, outputs = _one(kept["membrane"], example), _one(kept["outputs"], example)
        busiest = np.argsort(-np.abs(outputs).sum(0), kind="stable")[:neurons]
        for index, neuron in enumerate(busiest):
            (line,) = axis.plot(membrane[:, neuron], linewidth=1, label=f"{neuron}")
            if network.layers[name].spikes:  # pyright: ignore[reportAttributeAccessIssue]
                at = np.nonzero(outputs[:, neuron])[0]
                axis.plot(at, np.full(len(at), 1.05 + 0.05 * index), "|", color=line.get_color(),
                          transform=axis.get_xaxis_transform(), clip_on=False)  # fmt: skip
        threshold = _threshold(network.layers[name])
        if threshold is not None:
            axis.axhline(threshold, color="grey", linestyle=":", linewidth=1)
        axis.set_ylabel(f"{name}\n(potential)")
        axis.legend(
            title="neuron", fontsize="x-small", title_fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5)
        )
    axes[-1].set_xlabel("time step")
    return figure


def firing_rates(record: Record, network: Network) -> Sequence[Mapping[str, Any]]:
    """Firing rates of every spiking layer, in spikes a step, over neurons.

    Args:
        record: What `Network.record` returned.
        network: The network.

    Returns:
        One row a layer: mean and quantiles over neurons of the rate over time and batch, and the share of silent ones.
    """
    rows: list[Mapping[str, Any]] = []
    for name, kept in record.items():
        layer = network.layers[name]
        if not (isinstance(layer, Neuron) and layer.spikes):
            continue
        spikes = np.asarray(kept["outputs"])
        rate = spikes.reshape(-1, spikes.shape[-1]).mean(0)
        low, median, high = np.quantile(rate, (0.1, 0.5, 0.9))
        figures = {"mean": rate.mean(), "10 %": low, "median": median, "90 %": high, "silent": (rate == 0).mean()}
        rows.append({"layer": name, "neurons": len(rate), **{k: round(float(v), 4) for k, v in figures.items()}})
    return rows


def record(network: Network, params: Params, xs: Any) -> dict[str, dict[str, np.ndarray]]:
    """Outputs and membranes of every neuron layer over time, on the host.

    Args:
        network: The network.
        params: Its parameters.
        xs: Inputs over time.

    Returns:
        Arrays (time, batch, neurons) by layer and by `outputs` or `membrane`.
    """
    return jax.tree.map(np.asarray, jax.jit(network.record)(params, xs))


def _one(array: Any, example: int) -> np.ndarray:
    """One example of a batch, with all its neurons on one axis."""
    array = np.asarray(array)
    if array.ndim == 2:
        return array
    array = array.reshape(array.shape[0], array.shape[1], -1)
    return array[:, example]


def _threshold(layer: Any) -> float | None:
    about = layer.about["neuron"].about if layer.about["kind"] == "recurrent" else layer.about
    values = about.get("values")
    if values is None or "threshold" not in values.given or "threshold" in values.learn:
        return None
    threshold = values.given["threshold"]
    return float(threshold) if jnp.ndim(threshold) == 0 else None
