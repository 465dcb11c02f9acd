"""Reproduction: runs repeated from their folders, and a sweep trained in one compile."""

import tempfile
import time
from pathlib import Path

from chainlab.lab.bench import Row
from chainlab.lab.config import load
from chainlab.lab.config.locate import names
from chainlab.lab.jobs import jobs
from chainlab.lab.reproduce import reproduce
from chainlab.lab.run import start
from chainlab.lab.sweep import sweep
from chainlab.lab.together import train_together

_RATES = [round(1e-4 * 1.08**index, 8) for index in range(64)]


def repeated(rounds: int) -> list[Row]:
    """Share of the experiments whose shortest config gives the same bits twice."""
    del rounds
    documents = [load(name) for name in names()]
    smoke = {d.experiment.name: d for d in documents if "smoke" in d.envelope.tags}
    same: list[str] = []
    differing: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, document in smoke.items():
            run = start(document, root=Path(scratch), quiet=True)
            found = reproduce(run.folder, quiet=True)
            (same if found.identical else differing).append(name if found.identical else f"{name}: {found.first}")
    note = f"identical: {', '.join(same)}" + (f"; differing: {'; '.join(differing)}" if differing else "")
    share = len(same) / len(smoke)
    return [
        Row(
            "reproduce/identical",
            f"share of {len(smoke)} experiments that repeat bit for bit",
            share,
            ">= 1",
            note=note,
        )
    ]


def together(rounds: int) -> list[Row]:
    """64 learning rates of the digits MLP: one vmapped program against one run after another."""
    del rounds
    overrides = (
        "seeds=1",
        "run={steps: 20, log_every: 10}",
        "expect=[]",
        "optimizer={name: adamw, learning_rate: 1e-3, weight_decay: 1e-2}",
        f"sweep={{optimizer.learning_rate: {_RATES}}}",
    )
    document = load("mlp/digits", overrides)
    wanted = jobs(document, overrides)
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        both = train_together(document, Path(scratch) / "together", wanted)
        middle = time.perf_counter()
        alone = sweep(document, Path(scratch) / "alone", wanted)
        ended = time.perf_counter()
    worst = max(
        abs(a - b)
        for one, other in zip(alone, both, strict=True)
        if one.run and other.run
        for name, values in one.run.final.items()
        for a, b in zip(values, other.run.final[name], strict=True)
    )
    ratio = (ended - middle) / (middle - began)
    note = f"{ended - middle:.1f} s against {middle - began:.1f} s; results differ by {worst:.1e} at most"
    return [
        Row(
            "sweep/together",
            "time of 64 runs of mlp/digits, 20 steps each, over that of one vmapped compile",
            ratio,
            ">= 10",
            note=note,
        ),
        Row("sweep/equal", "largest difference of a result between the two", worst, "<= 1e-5"),
    ]


def bench(rounds: int = 1) -> list[Row]:
    """Every figure of reproduction."""
    return repeated(rounds) + together(rounds)
