"""Resuming: a run in parts against the run in one piece, bit for bit."""

import json
import tempfile
from pathlib import Path

from chainlab.lab import checkpoint
from chainlab.lab.bench import Row
from chainlab.lab.config import load
from chainlab.lab.record import Record
from chainlab.lab.run import Run, resume, start

_STEPS, _STOPS = 400, (1, 57, 200, 399)
_SHORT = (f"run.steps={_STEPS}", "run.eval_every=100", "run.monitor=validation/accuracy", "expect=[]")


def _ended(run: Run) -> tuple[str, list[dict[str, object]]]:
    """Fingerprint of the last checkpoint, and the lines of metrics without their times."""
    record = Record.open(run.folder)
    leaves, _ = checkpoint.load(record.checkpoints()[0])
    lines = [json.loads(line) for line in record.metrics.read_text().splitlines()]
    return checkpoint.fingerprint(leaves), [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def bench(rounds: int = len(_STOPS)) -> list[Row]:
    """Share of interrupted runs that end at the uninterrupted run's parameters and metrics."""
    document = load("mlp/digits", _SHORT)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        whole = _ended(start(document, root=root, quiet=True))
        same = 0
        for stop in _STOPS[:rounds]:
            part = start(document, root=root, quiet=True, until=stop)
            same += _ended(resume(part.folder, quiet=True)) == whole
    tried = len(_STOPS[:rounds])
    stops = ", ".join(map(str, _STOPS[:rounds]))
    case = f"share of runs of mlp/digits, stopped at step {stops} and resumed, that end equal"
    return [
        Row("resume/equal", case, same / tried, ">= 1", note=f"{same} of {tried}, parameters and metrics bit for bit")
    ]
