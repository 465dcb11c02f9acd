"""A diagnosis as text and as a figure."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chainlab.autodiff.diagnosis.diagnoser import Diagnosis


def text(diagnosis: "Diagnosis", rows: int) -> str:
    """The verdict, the findings with advice, and a depth profile.

    Args:
        diagnosis: The diagnosis.
        rows: How many layers the profile shows.

    Returns:
        Plain text.
    """
    lines = [f"verdict: {diagnosis.verdict}" + (f" at {diagnosis.first}" if diagnosis.first else "")]
    rate = diagnosis.rate
    if rate is not None:
        scale = f"{rate.depth_scale:.3g} layers" if np.isfinite(rate.depth_scale) else "infinite"
        lines.append(
            f"phase: {rate.phase} (log adjoint {rate.per_layer:+.3g} a layer towards the input, scale {scale})"
        )
    for finding in diagnosis.findings:
        lines += ["", f"{finding.problem} ({finding.side}): {finding.message}"]
        if finding.source:
            lines.append(f"  made at {finding.source}")
        lines += [f"  - {advice.what} [{advice.source}]" for advice in finding.advice]
    return "\n".join([*lines, "", *_table(diagnosis, rows)])


def _table(diagnosis: "Diagnosis", rows: int) -> list[str]:
    names, statistics = diagnosis.chain.names, diagnosis.chain.statistics
    shown = np.unique(np.linspace(0, len(names) - 1, min(rows, len(names))).round().astype(int)) if names else []
    width = max([5, *(len(names[index].name) for index in shown)])
    lines = [f"{'layer':<{width}}  {'value':>9}  {'adjoint':>9}  {'zeros':>6}  {'zero rows':>9}  {'cosine':>7}"]
    for index in shown:
        numbers = (
            f"{statistics.rms[index]:>9.2e}  {statistics.adjoint_rms[index]:>9.2e}  "
            f"{statistics.adjoint_zeros[index]:>6.1%}  {statistics.adjoint_zero_rows[index]:>9.1%}  "
            f"{statistics.similarity[index]:>7.4f}"
        )
        lines.append(f"{names[index].name:<{width}}  {numbers}")
    if len(shown) < len(names):
        lines.append(f"({len(shown)} of {len(names)} layers of the chain, {len(diagnosis.names)} watched in all)")
    return lines


def figure(diagnosis: "Diagnosis") -> Any:
    """A depth profile of the chain.

    Args:
        diagnosis: The diagnosis.

    Returns:
        A matplotlib figure: sizes on a logarithmic scale above, shares below, findings as vertical lines.
    """
    from matplotlib.figure import Figure

    statistics = diagnosis.chain.statistics
    depth = np.arange(len(diagnosis.chain.names))
    plot = Figure(figsize=(8, 6), layout="constrained")
    sizes, shares = plot.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for column, label in ((statistics.rms, "value"), (statistics.adjoint_rms, "adjoint")):
        sizes.plot(depth, np.where((column > 0) & np.isfinite(column), column, np.nan), label=f"{label} (rms)")
    sizes.set_yscale("log")
    sizes.set_ylabel("root mean square")
    for column, label in (
        (statistics.similarity, "mean cosine between inputs"),
        (statistics.saturated, "saturated"),
        (statistics.dead, "dead features"),
        (statistics.adjoint_zeros, "zeros in the adjoint"),
        (statistics.adjoint_zero_rows, "zero rows in the adjoint"),
    ):
        if np.nan_to_num(column).any():
            shares.plot(depth, column, label=label)
    shares.set(xlabel="layer", ylabel="share or cosine")
    places = {name.name: index for index, name in enumerate(diagnosis.chain.names)}
    for finding in diagnosis.findings:
        if finding.layer in places:
            sizes.axvline(places[finding.layer], color="0.6", linestyle="--", linewidth=1)
            sizes.annotate(
                f"{finding.problem} ({finding.side})",
                (places[finding.layer], 0.02),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=8,
            )
    for axes in (sizes, shares):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    sizes.set_title(f"{diagnosis.verdict}" + (f", {diagnosis.phase} phase" if diagnosis.phase else ""))
    return plot
