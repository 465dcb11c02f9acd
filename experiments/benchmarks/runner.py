"""The runner: against a bare scan, against PyTorch, over seeds, and its start-up."""

import cProfile
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chainlab.lab.bench import Row, compare, ratios

_PEERS = Path(__file__).parent / "peers"
_OURS, _TORCH = (_PEERS / "runner_chainlab.py", "chainlab"), (_PEERS / "runner_torch.py", "torch")
_DIGITS = {"sizes": [64, 64, 10], "batch": 128, "examples": 1437, "learning_rate": 1e-3, "threads": 2}


def bare_scan(rounds: int) -> list[Row]:
    """Steps a second through the runner against one hand-written jitted scan of the same step."""
    forms = {"runner": {"form": "runner"}, "bare": {"form": "bare"}}
    case = {**_DIGITS, "steps": 5000}
    timings, _, _ = compare(case, dict.fromkeys(forms, _OURS), forms=forms, ours="runner", rounds=rounds, threads=2)
    median, low, high = ratios(timings, "runner")["bare"]
    label = "steps/s of the runner over those of a bare jitted scan, MLP 64-64-10, batch 128"
    return [Row("runner/bare-scan", label, median, ">= 0.95", spread=(low, high))]


def mlp(rounds: int) -> list[Row]:
    """Examples a second of an MLP training step against PyTorch."""
    case = {
        "sizes": [784, 512, 512, 10],
        "batch": 128,
        "examples": 12800,
        "learning_rate": 1e-3,
        "in_order": True,
        "steps": 60,
        "threads": 2,
    }
    forms = {
        "chainlab": {"form": "runner"},
        "torch eager": {"form": "eager"},
        "torch eager, fused Adam": {"form": "eager", "adam": {"fused": True}},
        "torch.compile, fused Adam": {"form": "compile", "adam": {"fused": True}},
    }
    contenders = {name: _OURS if name == "chainlab" else _TORCH for name in forms}
    timings, _, missing = compare(case, contenders, forms=forms, ours="chainlab", rounds=rounds, threads=2)
    faster = ratios(timings, "chainlab")
    rates = {
        name: case["steps"] * case["batch"] / statistics.median(row["seconds"] for row in rows)
        for name, rows in timings.items()
    }
    rows: list[Row] = []
    for name in list(forms)[1:]:
        label = f"examples/s over {name}, MLP 784-512-512-10, batch 128, Adam, 2 threads"
        if name in missing:
            rows.append(Row("runner/mlp", label, None, ">= 1.3", {name: None}, note=missing[name]))
            continue
        median, low, high = faster[name]
        note = f"{rates['chainlab']:.0f} against {rates[name]:.0f} examples/s"
        rows.append(Row("runner/mlp", label, median, ">= 1.3", {name: rates[name]}, (low, high), note))
    return rows


def seeds(rounds: int) -> list[Row]:
    """Wall time of eight seeds in one compile against one seed, each a run from scratch."""
    times: dict[int, list[float]] = {1: [], 8: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for count in times:
                began = time.perf_counter()
                command = ["run", "mlp/digits", "--seeds", str(count), "--out", folder, "-q"]
                subprocess.run([sys.executable, "-m", "chainlab", *command], check=True, stdout=subprocess.DEVNULL)
                times[count].append(time.perf_counter() - began)
    paired = [eight / one for one, eight in zip(times[1], times[8], strict=True)]
    label = "wall time of `chainlab run mlp/digits --seeds 8` over `--seeds 1`"
    spread = (min(paired), max(paired))
    return [Row("runner/seeds", label, statistics.median(paired), "<= 4", spread=spread)]


def python_calls(rounds: int) -> list[Row]:
    """Python function calls a step in steady state."""
    del rounds
    from chainlab.lab.config import load
    from chainlab.lab.record import Record, create_folder
    from chainlab.lab.runner import Runner

    document = load("mlp/digits", ["run.steps=100000", "run.eval_every=null", "run.checkpoint_every=null"])
    with tempfile.TemporaryDirectory() as folder:
        record = Record(create_folder(Path(folder), "bench", document.hash))
        runner = Runner(document.task(), document.envelope.run, (0,), record)
        runner.run(until=2000)
        profile = cProfile.Profile()
        profile.runcall(runner.run, until=22000)
    calls = pstats.Stats(profile).total_calls / 20000  # pyright: ignore[reportAttributeAccessIssue]
    return [Row("runner/python-calls", "Python function calls a training step, mlp/digits", calls, "<= 5")]


def help_cost(rounds: int) -> list[Row]:
    """Wall time of `chainlab --help` against a bare interpreter."""
    commands = {"help": ["-m", "chainlab", "--help"], "bare": ["-c", "pass"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(max(9, rounds)):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - began)
    paired = [mine / base for mine, base in zip(times["help"], times["bare"], strict=True)]
    spread = (min(paired), max(paired))
    label = "wall time of `chainlab --help` over `python -c pass`"
    return [Row("runner/help", label, statistics.median(paired), "<= 8", spread=spread)]


def bench(rounds: int = 7) -> list[Row]:
    """Every figure of the runner."""
    parts = (bare_scan, mlp, python_calls, help_cost, lambda rounds: seeds(min(rounds, 3)))
    return [row for part in parts for row in part(rounds)]
