"""Spiking networks against jaxpike, spyx, SpikingJelly and snnTorch: time and memory of the gradient, accuracy."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainlab.experiments.benchmarks import spiking_accuracy

from chainlab.lab.bench import Row, compare, ratios
from chainlab.lab.peers import PeerError

_PEERS = Path(__file__).parent / "peers"
_OURS = (_PEERS / "spiking_chainlab.py", "chainlab")
_JAXPIKE = (_PEERS / "spiking_jaxpike.py", "jax")
_SPYX = (_PEERS / "spiking_spyx.py", "jax")
_SNNTORCH = (_PEERS / "spiking_snntorch.py", "torch")
_SPIKINGJELLY = (_PEERS / "spiking_spikingjelly.py", "torch")

# each peer's own definition of LIF, which ours is set to before the two are timed
_DELAYED = {"timing": "delayed", "detach": True}
_SEMANTICS = {
    "jaxpike": {"timing": "immediate", "detach": False},
    "spyx": {"timing": "delayed", "detach": False, "height": 0.3183098861837907},
    "spikingjelly": {"timing": "immediate", "detach": True},
    "snntorch": _DELAYED,
}
_LAYER = {"kind": "layer", "time": 500, "batch": 16, "size": 512, "threads": 2}
_STEP = {"kind": "training", "time": 25, "batch": 128, "hidden": 128, "steps": 20, "threads": 2}


def bench(rounds: int = 7) -> list[Row]:
    """Measure everything.

    Args:
        rounds: Interleaved rounds of each timing.

    Returns:
        One layer's gradient against its matrix products and against each peer, the training step with a constant
        input, the memory and time of recomputing and online rules, and accuracies beside classical classifiers.
        Fashion-MNIST takes minutes: `python -m chainlab.experiments.benchmarks.spiking_accuracy fashion` measures it.
    """
    accuracy = spiking_accuracy.rows("braille", "digits")
    return [*layer_floor(rounds), *layer_peers(rounds), *training(rounds), *memory(rounds), *accuracy]


def layer_floor(rounds: int, case: Mapping[str, Any] = _LAYER) -> list[Row]:
    """Forward and backward of one layer, relative to its two matrix products alone."""
    contenders = {"chainlab": _OURS, "matrix products": _OURS, "bfloat16 products": _OURS}
    variables = {
        "matrix products": {"SPIKING_VARIANT": "products"},
        "bfloat16 products": {"SPIKING_VARIANT": "bfloat16"},
    }
    timings, _, _ = compare(
        {**case, "semantics": _DELAYED},
        contenders,
        ours="chainlab",
        rounds=rounds,
        repeat=2,
        threads=case["threads"],
        tolerance=None,
        variables=variables,
    )
    against = ratios(timings, "chainlab")
    floor, low, high = against["matrix products"]
    half = against["bfloat16 products"]
    text = _describe(case)
    return [
        Row("layer/over-products", text, 1 / floor, "<= 1.25", spread=(1 / high, 1 / low), note=_milliseconds(timings)),
        Row(
            "layer/bfloat16",
            f"{text}, time with bfloat16 products over float32",
            half[0],
            spread=half[1:],
            note="an approximation: weights and adjoints are rounded, spikes are not",
        ),
    ]


def layer_peers(rounds: int, case: Mapping[str, Any] = _LAYER) -> list[Row]:
    """Forward and backward of one layer against each peer, with that peer's definition of LIF."""
    contenders = {
        "jaxpike": ({"jaxpike": _JAXPIKE}, {}, ">= 1.8"),
        "spyx": ({"spyx": _SPYX, "spyx hoisted": _SPYX}, {"spyx hoisted": {"SPIKING_VARIANT": "hoisted"}}, ">= 1.3"),
        "spikingjelly": ({"spikingjelly": _SPIKINGJELLY}, {}, ">= 2"),
        "snntorch": ({"snntorch": _SNNTORCH}, {}, ">= 3"),
    }
    rows: list[Row] = []
    for peer, (scripts, variables, goal) in contenders.items():
        request = {**case, "semantics": _SEMANTICS[peer]}
        rows += _against(f"layer/{peer}", _describe(case), request, scripts, variables, {peer: goal}, rounds, 2e-3)
    return rows


def training(rounds: int, case: Mapping[str, Any] = _STEP) -> list[Row]:
    """Adam steps of 784-128-10 on a constant current, against each peer.

    Those of JAX are compiled into one loop, as the runner's are and as PyTorch cannot.
    """
    text = f"784-{case['hidden']}-10, T={case['time']}, batch {case['batch']}, constant input, Adam step"
    variables = {"snntorch tutorial": {"SPIKING_VARIANT": "tutorial"}}
    scripts = {"snntorch": _SNNTORCH, "snntorch tutorial": _SNNTORCH}
    goals = {"snntorch": ">= 5", "snntorch tutorial": ">= 10"}
    request = {**case, "semantics": _DELAYED}
    rows = _against("training", text, request, scripts, variables, goals, rounds, 2e-3, repeat=1)
    # jaxpike has no constant input: it multiplies at every step, for which no goal is set
    for name, script, goals in (("spikingjelly", _SPIKINGJELLY, {"spikingjelly": ">= 5"}), ("jaxpike", _JAXPIKE, {})):
        request = {**case, "semantics": _SEMANTICS[name]}
        rows += _against("training", text, request, {name: script}, {}, goals, rounds, 2e-3, repeat=1)
    return rows


def memory(rounds: int, case: Mapping[str, Any] = _LAYER) -> list[Row]:
    """Temporary memory by XLA's plan at T = 2500, and what recomputing costs in time."""
    request = {**case, "semantics": _DELAYED, "outputs": "memory"}
    contenders = {"full": _OURS, "checkpointed": _OURS, "online": _OURS}
    variables = {name: {"SPIKING_VARIANT": name} for name in ("checkpointed", "online")}
    timings, long, _ = compare(
        {**request, "time": 2500},
        contenders,
        ours="checkpointed",
        rounds=min(rounds, 5),
        threads=case["threads"],
        tolerance=None,
        variables=variables,
    )
    _, short, _ = compare(
        {**request, "time": 500},
        {"online": _OURS},
        ours="online",
        rounds=0,
        threads=case["threads"],
        tolerance=None,
        variables=variables,
    )
    mib = {name: answer["outputs"][0] for name, answer in long.items()}
    against, low, high = ratios(timings, "checkpointed")["full"]
    text = _describe({**case, "time": 2500})
    flat = mib["online"] / short["online"]["outputs"][0]
    return [
        Row("memory/checkpointed", f"{text}, MiB", mib["checkpointed"], "<= 10", {"full": mib["full"]}),
        Row("memory/time", f"{text}, time over full BPTT", 1 / against, "<= 1.5", spread=(1 / high, 1 / low)),
        Row("memory/online", f"{text}, MiB of the online trace", mib["online"], note=_milliseconds(timings, 1)),
        Row("memory/online-flat", "MiB of the online trace at T=2500 over T=500", flat, "<= 1.01"),
    ]


def _against(
    claim: str,
    text: str,
    request: Mapping[str, Any],
    scripts: Mapping[str, tuple[Path, str]],
    variables: Mapping[str, Mapping[str, str]],
    goals: Mapping[str, str],
    rounds: int,
    tolerance: float,
    repeat: int = 2,
) -> list[Row]:
    """Rows of ours against a peer, whose results must be equal first."""
    try:
        timings, _, missing = compare(
            request,
            {"chainlab": _OURS, **scripts},
            ours="chainlab",
            rounds=rounds,
            repeat=repeat,
            threads=request["threads"],
            tolerance=tolerance,
            variables=variables,
        )
    except PeerError as error:
        return [Row(claim, text, None, goal, note=str(error)) for goal in goals.values() or [""]]
    faster = ratios(timings, "chainlab")
    rows: list[Row] = []
    for name in scripts:
        label = claim if claim.endswith(name) else f"{claim}/{name}"
        if name in missing:
            rows.append(Row(label, text, None, goals.get(name, ""), {name: None}, note=missing[name]))
            continue
        median, low, high = faster[name]
        note = _milliseconds(timings, repeat * request.get("steps", 1))
        rows.append(
            Row(label, f"{text}, times faster than {name}", median, goals.get(name, ""), spread=(low, high), note=note)
        )
    return rows


def _describe(case: Mapping[str, Any]) -> str:
    size = case["size"]
    return f"Linear({size}->{size})+LIF, batch {case['batch']}, T={case['time']}, forward+backward"


def _milliseconds(timings: Mapping[str, Any], repeat: int = 2) -> str:
    """Median time of every contender."""
    medians = {
        name: statistics.median(row["seconds"] for row in rows) / repeat for name, rows in timings.items() if rows
    }
    return "ms: " + ", ".join(f"{name} {1e3 * seconds:.3g}" for name, seconds in medians.items())
