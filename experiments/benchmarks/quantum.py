"""Parameter-shift gradients against PennyLane in every configuration, lightning and TensorCircuit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainlab.lab.bench import Row, compare, ratios

_PEERS = Path(__file__).parent / "peers"
_PENNYLANE = (_PEERS / "quantum_pennylane.py", "chainlab")
_TENSORCIRCUIT = (_PEERS / "quantum_tensorcircuit.py", "jax")

# contender: (program, mode, gradients in one timing)
_CONTENDERS: Mapping[str, tuple[tuple[Path, str], str, int]] = {
    "chainlab": ((_PEERS / "quantum_chainlab.py", "chainlab"), "", 20),
    "PennyLane, default": (_PENNYLANE, "default", 1),
    "PennyLane, broadcast": (_PENNYLANE, "broadcast", 1),
    "PennyLane, seeded": (_PENNYLANE, "seeded", 20),
    "PennyLane, best": (_PENNYLANE, "best", 20),
    "PennyLane, backprop": (_PENNYLANE, "backprop", 20),
    "lightning, shift": (_PENNYLANE, "lightning-shift", 1),
    "lightning, adjoint": (_PENNYLANE, "lightning-adjoint", 1),
    "TensorCircuit, backprop": (_TENSORCIRCUIT, "backprop", 20),
    "TensorCircuit, shift": (_TENSORCIRCUIT, "shift", 20),
}
# (qubits, batch): contenders that are left out there, since one gradient or one compile takes minutes
_CASES: Mapping[tuple[int, int], Sequence[str]] = {
    (4, 1): (),
    (4, 32): ("PennyLane, broadcast", "PennyLane, seeded"),
    (8, 1): ("PennyLane, broadcast", "PennyLane, seeded"),
    (8, 32): ("PennyLane, default", "PennyLane, broadcast", "PennyLane, seeded", "lightning, shift"),
    (12, 1): ("PennyLane, broadcast", "PennyLane, seeded"),
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
    chosen = {name: value for name, value in _CONTENDERS.items() if name not in _CASES[qubits, batch]}
    variables = {
        name: {"CHAINLAB_MODE": mode, "CHAINLAB_INNER": str(inner)} for name, (_, mode, inner) in chosen.items()
    }
    timings, prepared, missing = compare(
        case,
        {name: program for name, (program, _, _) in chosen.items()},
        ours="chainlab",
        rounds=rounds,
        variables=variables,
        tolerance=1e-3,
    )
    each = {name: [{"seconds": row["seconds"] / chosen[name][2]} for row in rows] for name, rows in timings.items()}
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
