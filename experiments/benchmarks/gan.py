"""Games: a discriminator and a generator step against PyTorch, and transposed convolution against lax and PyTorch."""

import statistics
from pathlib import Path
from typing import Any

from chainlab.lab.bench import Row, compare, ratios

_PEERS = Path(__file__).parent / "peers"
_OURS, _TORCH = (_PEERS / "gan_chainlab.py", "chainlab"), (_PEERS / "gan_torch.py", "torch")
_THREADS = 1
_RELATIVISTIC = {"loss": "relativistic", "penalties": ["r1", "r2"]}
_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "MLP width 128, batch 256, relativistic + R1 + R2": (
        {"network": "mlp", "width": 128, "batch": 256, "steps": 40, **_RELATIVISTIC},
        ">= 2.2",
    ),
    "MLP width 512, batch 256, relativistic + R1 + R2": (
        {"network": "mlp", "width": 512, "batch": 256, "steps": 4, **_RELATIVISTIC},
        ">= 1.2",
    ),
    "DCGAN 28x28, batch 64, relativistic + R1": (
        {"network": "dcgan", "width": 64, "batch": 64, "steps": 2, "loss": "relativistic", "penalties": ["r1"]},
        ">= 1",
    ),
    "DCGAN 28x28, batch 64, WGAN-GP": (
        {
            "network": "dcgan",
            "width": 64,
            "batch": 64,
            "steps": 2,
            "loss": "wasserstein",
            "penalties": ["gradient_penalty"],
        },
        "",
    ),
}
_FORMS = {
    "chainlab": {},
    "torch eager": {"form": "eager"},
    "torch eager, fused Adam": {"form": "eager", "adam": {"fused": True}},
    "torch.compile, fused Adam": {"form": "compile", "adam": {"fused": True}},
}


def _milliseconds(rows: list[dict[str, float]], steps: int) -> float:
    return 1e3 * statistics.median(row["seconds"] for row in rows) / steps


def steps(rounds: int) -> list[Row]:
    """A whole step, discriminator and generator, with Adam: time of PyTorch's forms over ours.

    The goal is over eager; the other forms are printed without one.
    """
    rows: list[Row] = []
    for label, (case, goal) in _CASES.items():
        contenders = {name: _OURS if name == "chainlab" else _TORCH for name in _FORMS}
        random = case["loss"] == "wasserstein"  # each side draws its own interpolates: the results cannot be equal
        timings, _, missing = compare(
            {**case, "threads": _THREADS},
            contenders,
            forms=_FORMS,
            ours="chainlab",
            rounds=rounds,
            threads=_THREADS,
            tolerance=None if random else 1e-3,
        )
        faster, ours = ratios(timings, "chainlab"), _milliseconds(timings["chainlab"], case["steps"])
        for name in list(_FORMS)[1:]:
            text, wanted = f"G+D step over {name}, {label}", goal if name == "torch eager" else ""
            if name in missing:
                rows.append(Row("gan/step", text, None, wanted, {name: None}, note=missing[name][-300:]))
                continue
            median, low, high = faster[name]
            theirs = _milliseconds(timings[name], case["steps"])
            rows.append(
                Row(
                    "gan/step", text, median, wanted, {name: theirs}, (low, high), f"{ours:.2f} against {theirs:.2f} ms"
                )
            )
    return rows


def transposed(rounds: int) -> list[Row]:
    """Derivatives of a transposed convolution: time of lax's own and of PyTorch's over ours."""
    forms = {"chainlab": {"form": "product"}, "lax": {"form": "lax"}, "torch": {}}
    contenders = {"chainlab": _OURS, "lax": _OURS, "torch": _TORCH}
    rows: list[Row] = []
    for order, what, goal in ((1, "gradient", ">= 5"), (2, "gradient of the squared input gradient", ">= 4")):
        timings, _, missing = compare(
            {"order": order, "threads": _THREADS},
            contenders,
            forms=forms,
            ours="chainlab",
            rounds=rounds,
            threads=_THREADS,
            tolerance=1e-3,
        )
        faster, ours = ratios(timings, "chainlab"), _milliseconds(timings["chainlab"], 1)
        for name in ("lax", "torch"):
            text = f"transposed convolution 128 -> 64, 7x7 -> 14x14, batch 64, {what}, over {name}"
            wanted = goal if name == "lax" else ""
            if name in missing:
                rows.append(Row("gan/transposed", text, None, wanted, {name: None}, note=missing[name][-300:]))
                continue
            median, low, high = faster[name]
            theirs = _milliseconds(timings[name], 1)
            note = f"{ours:.1f} against {theirs:.1f} ms"
            rows.append(Row("gan/transposed", text, median, wanted, {name: theirs}, (low, high), note))
    return rows


def bench(rounds: int = 7) -> list[Row]:
    """Every figure of games."""
    return [*steps(rounds), *transposed(rounds)]
