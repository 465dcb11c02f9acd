"""`explain`: what it costs over the plain gradient, compiled and eager, beside TorchLens."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from chainlab.lab.bench import Row, compare

_PEERS = Path(__file__).parent / "peers"
_OURS = _PEERS / "gradients_explain_chainlab.py", "chainlab"
_TORCH = _PEERS / "gradients_explain_torch.py", "torch"
_MODELS = {"mlp": "MLP 4x256, batch 64", "attention": "attention block 16x64x128, 4 heads"}


def _cost(
    timings: Mapping[str, Sequence[Mapping[str, float]]], name: str, base: str
) -> tuple[float, tuple[float, float]]:
    paired = [a["seconds"] / b["seconds"] for a, b in zip(timings[name], timings[base], strict=True)]
    return statistics.median(paired), (min(paired), max(paired))


def _milliseconds(timings: Sequence[Mapping[str, float]], repeat: int) -> float:
    return 1e3 * statistics.median(row["seconds"] for row in timings) / repeat


def compiled(rounds: int, repeat: int = 60) -> list[Row]:
    """All adjoints and all contribution norms in one program over `jit(value_and_grad)`."""
    rows: list[Row] = []
    for model, label in _MODELS.items():
        forms = {name: {"form": name} for name in ("statistics", "value_and_grad")}
        timings, prepared, _ = compare(
            {"model": model},
            dict.fromkeys(forms, _OURS),
            forms=forms,
            ours="statistics",
            rounds=rounds,
            repeat=repeat if model == "mlp" else max(1, repeat // 6),
        )
        median, spread = _cost(timings, "statistics", "value_and_grad")
        seconds = {name: prepared[name]["prepare_seconds"] for name in forms}
        note = f"tracing and compiling {seconds['statistics']:.1f} s against {seconds['value_and_grad']:.1f} s"
        case = f"time of all adjoints and contribution norms over jit(value_and_grad), {label}"
        rows.append(Row("gradients/explain-compiled", case, median, "<= 1.4", spread=spread, note=note))
    return rows


def eager(rounds: int, repeat: int = 3) -> list[Row]:
    """A whole explanation, operation by operation, against TorchLens and against plain gradients."""
    forms = {
        "explain": {"form": "eager explain"},  # the trace of an earlier call is used again
        "explain, traced anew": {"form": "eager explain, traced anew"},
        "value_and_grad, eager": {"form": "eager gradient"},
        "value_and_grad, jitted": {"form": "value_and_grad"},
        "TorchLens": {"form": "torchlens"},
        "PyTorch forward + backward": {"form": "gradient"},
    }
    ours = list(forms)[:4]
    contenders = {name: _OURS if name in ours else _TORCH for name in forms}
    timings, _, missing = compare(
        {"model": "mlp"}, contenders, forms=forms, ours="explain", rounds=rounds, repeat=repeat
    )
    times = {name: _milliseconds(rows, repeat) for name, rows in timings.items()}
    shown = ", ".join(f"{name} {value:.2f} ms" for name, value in times.items())
    rows: list[Row] = []
    for name in list(forms)[2:]:
        for mine in list(forms)[:2]:
            case = f"time of {mine} over {name}, {_MODELS['mlp']}"
            if name in missing:
                rows.append(Row("gradients/explain-eager", case, None, peers={name: None}, note=missing[name]))
                continue
            median, spread = _cost(timings, mine, name)
            rows.append(
                Row("gradients/explain-eager", case, median, peers={name: times[name]}, spread=spread, note=shown)
            )
    if "TorchLens" in timings and "PyTorch forward + backward" in timings:
        median, spread = _cost(timings, "TorchLens", "PyTorch forward + backward")
        case = f"time of TorchLens over PyTorch's forward + backward, {_MODELS['mlp']}"
        rows.append(Row("gradients/explain-eager", case, median, spread=spread))
    return rows


def bench(rounds: int = 9) -> list[Row]:
    """Every figure of `explain`."""
    return [*compiled(rounds), *eager(rounds)]
