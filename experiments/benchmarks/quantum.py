"""Parameter-shift gradients against PennyLane in every configuration, lightning and TensorCircuit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainlab.lab.bench import Row, compare, ratios

_PEERS = Path(__file__).parent / "peers"
_PENNYLANE = (_PEERS / "quantum_pennylane.py", "chainlab")
_TENSORCIRCUIT = (_PEERS / "quantum_tensorcircuit.py", "jax")

# contender: program, environment, mode, and whether its gradient is quick enough to be timed several times at once
_CONTENDERS: Mapping[str, tuple[tuple[Path, str], str, bool]] = {
    "chainlab": ((_PEERS / "quantum_chainlab.py", "chainlab"), "", True),
    "PennyLane, default": (_PENNYLANE, "default", False),
    "PennyLane, broadcast": (_PENNYLANE, "broadcast", False),
    "PennyLane, seeded": (_PENNYLANE, "seeded", True),
    "PennyLane, best": (_PENNYLANE, "best", True),
    "PennyLane, backprop": (_PENNYLANE, "backprop", True),
    "lightning, shift": (_PENNYLANE, "lightning-shift", False),
    "lightning, adjoint": (_PENNYLANE, "lightning-adjoint", False),
    "TensorCircuit, backprop": (_TENSORCIRCUIT, "backprop", True),
    "TensorCircuit, shift": (_TENSORCIRCUIT, "shift", True),
}
_LONG = ("PennyLane, broadcast", "PennyLane, seeded")  # one gradient or one compile takes minutes
_LONGER = (*_LONG, "PennyLane, default", "PennyLane, best", "lightning, shift")
# (qubits, batch): gradients in one timing of the quick contenders, and who is left out
_CASES: Mapping[tuple[int, int], tuple[int, Sequence[str]]] = {
    (4, 1): (50, ()),
    (4, 32): (20, _LONG),
    (8, 1): (10, _LONG),
    (8, 32): (2, _LONGER),
    (12, 1): (2, (*_LONG, "PennyLane, best", "TensorCircuit, shift")),
    (12, 32): (1, (*_LONGER, "lightning, adjoint", "TensorCircuit, shift")),
}
_GOALS = {"PennyLane, default": ">= 100", "PennyLane, best": ">= 1"}


def bench(rounds: int = 5, cases: Sequence[tuple[int, int]] = tuple(_CASES)) -> list[Row]:
    """Time one gradient by the 24 to 72 angles of a circuit, compiled, on one core.

    The circuit is an angle embedding and two strongly entangling layers, `<Z0>`, in float32. Ratios are the
    peer's time over ours, paired round by round; above 1 means ours is faster. Every contender's gradient is
    checked against ours first.

    Args:
        rounds: Interleaved rounds.
        cases: Pairs of qubits and batch size.

    Returns:
        For each case the time of a gradient, the ratio to every peer, and the ratio of compile and first call.
    """
    return [row for qubits, batch in cases for row in _case(qubits, batch, rounds)]


def _case(qubits: int, batch: int, rounds: int) -> list[Row]:
    rng = np.random.default_rng(0)
    shape = (qubits,) if batch == 1 else (batch, qubits)
    case = {
        "qubits": qubits,
        "batch": batch,
        "x": rng.normal(size=shape).tolist(),
        "w": rng.normal(size=(2, qubits, 3)).tolist(),
    }
    many, left_out = _CASES[qubits, batch]
    chosen = {name: value for name, value in _CONTENDERS.items() if name not in left_out}
    inner = {name: many if quick else 1 for name, (_, _, quick) in chosen.items()}
    variables = {
        name: {"CHAINLAB_MODE": mode, "CHAINLAB_INNER": str(inner[name])} for name, (_, mode, _) in chosen.items()
    }
    timings, prepared, missing = compare(
        case,
        {name: program for name, (program, _, _) in chosen.items()},
        ours="chainlab",
        rounds=rounds,
        variables=variables,
        tolerance=1e-3,
    )
    each = {name: [{"seconds": row["seconds"] / inner[name]} for row in rows] for name, rows in timings.items()}
    return _rows(f"{qubits} qubits, batch {batch}", each, prepared, missing)


def _rows(
    case: str, timings: Mapping[str, list[dict[str, float]]], prepared: Mapping[str, Any], missing: Mapping[str, str]
) -> list[Row]:
    milliseconds = {name: 1000 * float(np.median([row["seconds"] for row in rows])) for name, rows in timings.items()}
    peers: dict[str, float | None] = {name: value for name, value in milliseconds.items() if name != "chainlab"}
    peers.update(dict.fromkeys(missing))
    note = "; ".join(f"{name}: {reason.strip().splitlines()[-1]}" for name, reason in missing.items())
    rows = [Row("quantum/milliseconds", case, milliseconds["chainlab"], peers=peers, note=note)]
    for name, (middle, low, high) in ratios(timings, "chainlab").items():
        rows.append(
            Row("quantum/run-time", f"{case}: times {name}", middle, goal=_GOALS.get(name, ""), spread=(low, high))
        )
    first = {name: float(answer["prepare_seconds"]) for name, answer in prepared.items()}
    others: dict[str, float | None] = {name: value for name, value in first.items() if name != "chainlab"}
    rows.append(Row("quantum/first-call-seconds", case, first["chainlab"], peers=others))
    if "PennyLane, best" in first:
        ratio = first["PennyLane, best"] / first["chainlab"]
        rows.append(Row("quantum/first-call", f"{case}: times PennyLane, best", ratio, goal=">= 3"))
    return rows
