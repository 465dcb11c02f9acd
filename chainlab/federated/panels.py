"""Figures and tables of a federated run: the partition, rounds to target, what was sent, fairness."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer


class Drawing(NamedTuple):
    """A part of a report: title, matplotlib figure or None, rows of a table, and a sentence."""

    title: str
    figure: Any
    rows: Sequence[Mapping[str, Any]]
    note: str


def _figure(width: int, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3), layout="constrained")
    return figure, figure.subplots(1, columns)


def partition(
    parts: Sequence[Int[np.ndarray, " _"]], labels: Integer[np.ndarray, " examples"], classes: int
) -> Drawing:
    """Examples of each class by client, largest client first.

    Args:
        parts: Indices of each client's examples.
        labels: Class of each example.
        classes: Number of classes.

    Returns:
        The drawing.
    """
    counts = np.stack([np.bincount(labels[part], minlength=classes) for part in parts])
    sizes = np.sum(counts, axis=1)
    figure, axes = _figure(7)
    image = axes.imshow(counts[np.argsort(-sizes, kind="stable")].T, aspect="auto", interpolation="nearest")
    axes.set(xlabel="client", ylabel="class")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, label="examples")
    return Drawing("Partition", figure, (), f"{len(parts)} clients of {np.min(sizes)} to {np.max(sizes)} examples.")


def history(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """What a run recorded, by split: `step` (records,) and each metric (records, seeds).

    Args:
        folder: The run's folder.

    Returns:
        The records.
    """
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found: dict[str, dict[str, np.ndarray]] = {}
    for split in {line["split"] for line in lines}:
        mine = sorted((line for line in lines if line["split"] == split), key=lambda line: line["step"])
        names = [name for name, value in mine[-1]["metrics"].items() if isinstance(value, int | float | list)]
        found[split] = {"step": np.array([line["step"] for line in mine])}
        for name in names:
            values = [np.atleast_1d(line["metrics"].get(name, np.nan)) for line in mine]
            found[split][name] = np.array(values, float)
    return found


def rounds_to_target(
    steps: Int[np.ndarray, " records"], values: Float[np.ndarray, "records seeds"], target: float
) -> Float[np.ndarray, " seeds"]:
    """The first evaluated round at which each seed has reached a target; infinite where it never does.

    Args:
        steps: Rounds that were evaluated.
        values: The metric, larger is better.
        target: The target.

    Returns:
        Rounds by seed.

    Example:
        >>> rounds_to_target(np.array([5, 10]), np.array([[0.2, 0.9], [0.8, 0.9]]), 0.7).tolist()
        [10.0, 5.0]
    """
    reached = values >= target
    first = np.argmax(reached, axis=0)
    return np.where(np.any(reached, axis=0), steps[first], np.inf).astype(float)


def progress(folder: Path, targets: Sequence[float] = (0.5, 0.7, 0.8, 0.85, 0.9, 0.95)) -> list[Drawing]:
    """Rounds and bytes to each target; accuracy over bytes, the drift of clients, and epsilon where it is spent.

    Args:
        folder: The run's folder, after its last evaluation.
        targets: Test accuracies.

    Returns:
        The drawings; none where nothing was recorded.
    """
    found = history(folder)
    train, test = found.get("train"), found.get("test")
    if train is None or test is None or "bytes_up" not in train:
        return []
    # Records are means over blocks of rounds: bytes so far are their sum times the rounds of each block.
    blocks = np.diff(train["step"], prepend=0)[:, None]
    sent = np.mean(np.cumsum((train["bytes_up"] + train["bytes_down"]) * blocks, axis=0), axis=1)
    at_test = np.interp(test["step"], train["step"], sent) / 1e6
    rows: list[dict[str, Any]] = []
    for target in targets:
        rounds = rounds_to_target(test["step"], test["accuracy"], target)
        if np.any(np.isfinite(rounds)):
            typical = float(np.median(rounds))
            reached = f"{np.sum(np.isfinite(rounds))} of {len(rounds)}"
            megabytes = f"{np.interp(typical, test['step'], at_test):.2f}" if np.isfinite(typical) else ""
            rows.append(
                {
                    "test accuracy": target,
                    "rounds (median of seeds)": f"{typical:.0f}" if np.isfinite(typical) else "not reached",
                    "seeds that reach it": reached,
                    "MB both ways": megabytes,
                }
            )
    spent = "epsilon" in train
    figure, axes = _figure(11 if spent else 8, 3 if spent else 2)
    axes[0].plot(at_test, np.mean(test["accuracy"], axis=1), marker=".")
    axes[0].set(xlabel="MB sent, both ways", ylabel="test accuracy")
    axes[1].plot(train["step"], np.mean(train["drift_cosine"], axis=1))
    axes[1].set(xlabel="round", ylabel="cosine of two updates", ylim=(-0.1, 1.05))
    if spent:
        axes[2].plot(train["step"], np.mean(train["epsilon"], axis=1))
        axes[2].set(xlabel="round", ylabel="epsilon spent")
    every = int(np.max(np.diff(test["step"]))) if len(test["step"]) > 1 else int(test["step"][0])
    return [
        Drawing("Rounds to target", None, rows, f"Evaluated every {every} rounds: rounds are known to that."),
        Drawing("Communication and drift", figure, (), "A cosine of 1: clients pull together; 0: each its own way."),
    ]


def fairness(accuracies: Mapping[str, Float[np.ndarray, " clients"]], held_out: bool) -> Drawing:
    """How evenly clients are served.

    Args:
        accuracies: Accuracy of each client by the model that serves it.
        held_out: Whether the examples were held out from training.

    Returns:
        The drawing.
    """
    figure, axes = _figure(6)
    rows: list[dict[str, Any]] = []
    for name, values in accuracies.items():
        ordered = np.sort(values[np.isfinite(values)])
        axes.plot(np.linspace(0, 100, len(ordered)), ordered, label=name)
        worst = float(np.mean(ordered[: max(len(ordered) // 10, 1)]))
        rows.append({"model": name, "mean": f"{np.mean(ordered):.3f}", "worst tenth": f"{worst:.3f}"})
    axes.set(xlabel="percentile of clients", ylabel="accuracy on own examples", ylim=(0, 1.03))
    axes.legend()
    what = "examples that each client held out" if held_out else "the examples that each client trained on"
    return Drawing("Fairness over clients", figure, rows, f"Measured on {what}.")
