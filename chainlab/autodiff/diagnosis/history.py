"""Layer statistics over a training run: a depth x time heat map."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from chainlab.autodiff.diagnosis.program import trace
from chainlab.errors import UsageError

CURVES = ("rms", "adjoint_rms", "zeros", "saturated", "similarity", "adjoint_zeros")


def layer_curves(
    f: Callable[..., Any], args: Sequence[Any], *, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> tuple[list[str], Callable[..., dict[str, Float[Array, " layers"]]]]:
    """The layers of a function, and a pure function that gives a curve over them; to be recorded during a run.

    Args:
        f: What is differentiated.
        args: Its arguments, or their shapes.
        argnums: The arguments that are differentiated.
        has_aux: Whether `f` returns `(value, aux)`.

    Returns:
        The names of the layers, and `curves(*args) -> {statistic: (layers,)}`, which can be jitted and scanned.

    Raises:
        UsageError: As in `diagnose`.
    """
    program = trace(f, argnums, has_aux=has_aux, cotangent=None, args=args)
    streams = [index for index, name in enumerate(program.layers) if name.stream]
    chosen = np.asarray(streams if len(streams) >= 3 else range(len(program.layers)))

    def curves(*args: Any) -> dict[str, Array]:
        _, _, statistics = program.run(*args)
        return {name: getattr(statistics, name)[chosen] for name in CURVES}

    return [program.layers[index].name for index in chosen], curves


def thin(curve: Float[np.ndarray, "*time layers"], bins: int = 256) -> Float[np.ndarray, "*time bins"]:
    """Average a curve over neighbouring layers, for records and plots of very deep chains.

    Args:
        curve: Values with the layers last.
        bins: Most layers that are kept apart.

    Returns:
        At most `bins` values; the means ignore NaN.
    """
    layers = curve.shape[-1]
    if layers <= bins:
        return curve
    edges = np.linspace(0, layers, bins + 1).round().astype(int)
    parts = [curve[..., low:high] for low, high in pairwise(edges)]
    return np.stack([_mean(part) for part in parts], axis=-1)


def _mean(part: Float[np.ndarray, "*time layers"]) -> Float[np.ndarray, "*time"]:
    known = ~np.isnan(part)
    count = known.sum(-1)
    return np.where(count > 0, np.where(known, part, 0).sum(-1) / np.maximum(count, 1), np.nan)


def heat_map(steps: Sequence[int], curves: Mapping[str, Float[np.ndarray, "time layers"]], *, bins: int = 256) -> Any:
    """Layers against time, one panel a statistic; sizes are coloured by their logarithm.

    Args:
        steps: The steps at which the curves were recorded.
        curves: Statistics by name, as `layer_curves` gives them, stacked over time.
        bins: Most rows of a panel; deeper chains are averaged over neighbouring layers.

    Returns:
        A matplotlib figure.

    Raises:
        UsageError: There are no curves, or their number is not that of the steps.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    ordered = [*(name for name in CURVES if name in curves), *(name for name in curves if name not in CURVES)]
    shown = {name: np.asarray(curves[name], float) for name in ordered if not np.isnan(curves[name]).all()}
    if not shown:
        raise UsageError("heat_map: every curve is empty")
    for name, curve in shown.items():
        if curve.ndim != 2 or len(curve) != len(steps):
            raise UsageError(f"heat_map: {name} must have shape ({len(steps)}, layers), got {curve.shape}")
    plot = Figure(figsize=(8, 2.2 * len(shown)), layout="constrained")
    panels = plot.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    colours = colormaps["viridis"].with_extremes(bad="0.85")  # 0, infinite or not measured
    edges = _edges(np.asarray(steps, float))
    for panel, (name, curve) in zip(panels, shown.items(), strict=True):
        size = name.endswith("rms")
        usable = np.where(np.isfinite(curve) & ((curve > 0) | (not size)), curve, np.nan)
        if np.isnan(usable).all():
            panel.set_title(f"{name}: 0 or not finite throughout", fontsize=9)
            continue
        # averages of a size over layers are taken of its logarithm, or the largest would hide the others
        with np.errstate(divide="ignore"):
            rows = np.exp(thin(np.log(usable), bins)) if size else thin(usable, bins)
        norm = LogNorm(max(np.nanmin(rows), 1e-38), np.nanmax(rows)) if size else None
        depth = np.linspace(0, curve.shape[1], rows.shape[1] + 1)
        image = panel.pcolormesh(edges, depth, rows.T, norm=norm, cmap=colours, rasterized=True)
        plot.colorbar(image, ax=panel)
        panel.set_title(name.replace("_", " "), fontsize=9)
        panel.set_ylabel("layer")
    panels[-1].set_xlabel("step")
    return plot


def _edges(steps: Float[np.ndarray, " time"]) -> Float[np.ndarray, " edges"]:
    if len(steps) == 1:
        return np.asarray([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[steps[0] - (middle[0] - steps[0])], middle, [steps[-1] + (steps[-1] - middle[-1])]])
