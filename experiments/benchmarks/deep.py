"""Depth: memory as XLA plans it, compile time, and a gradient step against PyTorch."""

import statistics
import time
from pathlib import Path
from typing import Any

from chainlab.experiments.benchmarks.timing import uncached

from chainlab.lab.bench import Row, compare, ratios
from chainlab.lab.peers import PeerMissingError, Worker

_PEERS = Path(__file__).parent / "peers"
_OURS, _TORCH = (_PEERS / "deep_chainlab.py", "chainlab"), (_PEERS / "deep_torch.py", "torch")
_WIDTH, _BATCH = 64, 128
_FORMS = {
    "chainlab, sqrt": {"memory": "sqrt"},
    "chainlab, store": {"memory": "store"},
    "torch eager": {"form": "eager"},
    "torch checkpoint": {"form": "checkpoint"},
    "torch checkpoint, reentrant": {"form": "checkpoint, reentrant"},
}
_MIB = 2**20


def _branch(p: Any, h: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return p["scale"] * jax.nn.relu(h @ p["weight"] + jnp.broadcast_to(p["bias"], h.shape))


def _layer(p: Any, h: Any) -> Any:
    return h + _branch(p, h)


def _net(depth: int) -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    key = jax.random.key(0)
    weight = (2 / _WIDTH) ** 0.5 * jax.random.normal(key, (depth, _WIDTH, _WIDTH))
    params = {"weight": weight, "bias": jnp.zeros((depth, _WIDTH)), "scale": jnp.full(depth, 1 / depth)}
    return params, jax.random.normal(key, (_BATCH, _WIDTH))


def _gradient(memory: str) -> Any:
    import jax
    import jax.numpy as jnp

    from chainlab import deep

    def loss(params: Any, x: Any) -> Any:
        y = deep.deep(_branch if memory == "reversible" else _layer, params, x, memory=memory)
        return sum(jnp.mean(jnp.square(leaf)) for leaf in jax.tree.leaves(y))

    return jax.jit(jax.value_and_grad(loss))


def _planned(memory: str, depth: int) -> float:
    """Temporary MiB of a gradient, beside parameters and gradients."""
    import jax

    shapes = jax.eval_shape(lambda: _net(depth))
    return _gradient(memory).lower(*shapes).compile().memory_analysis().temp_size_in_bytes / _MIB


def memory() -> list[Row]:
    """What the gradient needs beside parameters and gradients, as XLA plans it, and that it stays the same gradient."""
    import jax
    import jax.numpy as jnp

    from chainlab import deep

    case = f"width {_WIDTH}, batch {_BATCH}"
    figures = {(m, d): _planned(m, d) for m in ("store", "sqrt", "reversible") for d in (1000, 10_000)}
    note = ", ".join(f"{m} {d}: {value:.2f} MiB" for (m, d), value in figures.items())
    rows = [
        Row(
            "deep/memory-reversible",
            f"reversible, 10,000 layers over 1,000, {case}",
            figures["reversible", 10_000] / figures["reversible", 1000],
            "<= 1.05",
            note=note,
        ),
        Row("deep/memory-sqrt", f"MiB of sqrt at 10,000 layers, {case}", figures["sqrt", 10_000], "<= 16", note=note),
    ]
    worst, extra, notes = 0.0, 0, []
    for budget in (9, 12, 16, 64, 256, 1024):
        found = deep.plan(_layer, *jax.eval_shape(lambda: _net(10_000)), budget)
        planned = _planned(f"budget: {budget} MiB", 10_000)
        worst, extra = max(worst, planned / budget), max(extra, found.extra_forwards)
        notes.append(f"{budget} MiB: {planned:.2f} planned, {found.extra_forwards} extra")
    text = "; ".join(notes)
    rows += [
        Row("deep/budget", "largest planned memory over its budget, 10,000 layers", worst, "<= 1", note=text),
        Row("deep/recomputation", "most extra forward passes of a budget", extra, "<= 2", note=text),
    ]
    params, x = _net(1000)
    want = _gradient("store")(params, x)
    for name in ("sqrt", "budget: 8 MiB", "budget: 3 MiB"):
        got = _gradient(name)(params, x)
        pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
        differences = [float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in pairs]
        rows.append(Row("deep/gradients", f"{name} against store, 1,000 layers, relative", max(differences), "<= 1e-6"))
    stored = jax.jit(
        jax.value_and_grad(lambda p, x: sum(jnp.mean(jnp.square(y)) for y in deep.streams(_branch, p, (x, x))))
    )(params, x)
    got = _gradient("reversible")(params, x)
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(stored), strict=True)
    differences = [float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in pairs]
    case = "reversible against autodiff of the same two streams, 1,000 layers, relative"
    return [*rows, Row("deep/gradients", case, max(differences), "<= 1e-6")]


def compile_time(rounds: int) -> list[Row]:
    """CPU seconds to trace and compile the gradient at 10,000 layers over those at 100."""
    import jax

    def seconds(depth: int) -> float:
        shapes = jax.eval_shape(lambda: _net(depth))
        jax.clear_caches()
        began = time.process_time()
        _gradient("sqrt").lower(*shapes).compile()
        return time.process_time() - began

    with uncached():
        seconds(100)
        paired = [(seconds(10_000), seconds(100)) for _ in range(rounds)]
    found = [deep / shallow for deep, shallow in paired]
    note = f"{statistics.median(deep for deep, _ in paired):.2f} CPU s at 10,000 layers"
    case = "compile time of a gradient at 10,000 layers over that at 100"
    return [Row("deep/compile", case, statistics.median(found), "<= 1.3", spread=(min(found), max(found)), note=note)]


def against_torch(rounds: int, depth: int) -> list[Row]:
    """A gradient step and its resident memory against PyTorch, one thread each."""
    contenders = {name: _TORCH if name.startswith("torch") else _OURS for name in _FORMS}
    base = {"depth": depth, "width": _WIDTH, "batch": _BATCH}
    forms = {name: {**form, "measure": "time"} for name, form in _FORMS.items()}
    timings, _, missing = compare(base, contenders, forms=forms, ours="chainlab, sqrt", rounds=rounds)
    milliseconds = {name: 1e3 * statistics.median(row["seconds"] for row in rows) for name, rows in timings.items()}
    note = ", ".join(f"{name} {value:.0f} ms" for name, value in milliseconds.items())
    rows: list[Row] = []
    for name, (median, low, high) in ratios(timings, "chainlab, sqrt").items():
        goal = {"torch eager": ">= 1.4", "chainlab, store": ""}.get(name, ">= 2.7")
        case = f"speed of a gradient step over {name}, {depth} layers"
        rows.append(Row("deep/speed", case, median, goal, milliseconds, (low, high), note))
    rows += [Row("deep/speed", name, None, ">= 1.4", {name: None}, note=why) for name, why in missing.items()]
    return [*rows, *_resident(base)]


def _resident(base: dict[str, Any]) -> list[Row]:
    """Growth of resident memory from before the net is built, default and tuned allocators."""
    grown: dict[str, float | None] = {}
    for name, form in _FORMS.items():
        script, environment = _TORCH if name.startswith("torch") else _OURS
        for allocator, variables in (("default", {}), ("tuned", {"MALLOC_MMAP_THRESHOLD_": "65536"})):
            try:
                worker = Worker(script, environment, variables=variables)
            except PeerMissingError:
                grown[f"{name}, {allocator}"] = None
                continue
            grown[f"{name}, {allocator}"] = worker.prepare({**base, **form, "measure": "memory"})["outputs"][0]
            worker.close()
    note = ", ".join(f"{name} {value:.0f} MiB" for name, value in grown.items() if value is not None)
    ours = grown["chainlab, sqrt, default"]
    rows: list[Row] = []
    for name in ("torch eager", "torch checkpoint", "torch checkpoint, reentrant"):
        peer = grown[f"{name}, default"]
        value = ours / peer if ours is not None and peer is not None else None
        case = f"growth of resident memory over {name}, {base['depth']} layers, default allocators"
        rows.append(Row("deep/resident", case, value, "<= 0.5", grown, note=note))
    return rows


def bench(rounds: int = 5) -> list[Row]:
    """Every figure about depth that is no accuracy."""
    return [
        *memory(),
        *compile_time(rounds),
        *against_torch(rounds, 1000),
        *against_torch(max(2, rounds // 2), 10_000),
    ]
