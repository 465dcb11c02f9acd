"""Transformers against nanoGPT in PyTorch, and what attention, depth and caches cost."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from chainlab.experiments.benchmarks.timing import alternate, uncached

from chainlab.errors import MissingDataError
from chainlab.lab.bench import Row, compare, ratios

_PEERS = Path(__file__).parent / "peers"
_CASES = {
    "4 layers, 4 heads, 128 dims, T=64, B=12": {
        "shape": {"layers": 4, "heads": 4, "dim": 128, "context": 64, "batch": 12, "dispatch": 10},
        "repeat": 2,
        "goals": {"nanogpt eager": ">= 1.2", "nanogpt compiled": ">= 1.1"},
    },
    "6 layers, 6 heads, 384 dims, T=256, B=8": {
        "shape": {"layers": 6, "heads": 6, "dim": 384, "context": 256, "batch": 8, "dispatch": 2},
        "repeat": 1,
        "goals": {"nanogpt eager": ">= 1.05", "nanogpt compiled": ">= 1.0"},
    },
}
# what keeps freed memory mapped between steps; read by the C library when a process starts, and given to every side
_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def bench(rounds: int = 7) -> list[Row]:
    """Measure everything.

    Args:
        rounds: Interleaved rounds of each timing.

    Returns:
        Training speed against nanoGPT (which `$CHAINLAB_NANOGPT` must name a checkout of), attention's memory
        and time, generation by context length, and compile time by depth.
    """
    return [*training(rounds), *attention(rounds), *generation(rounds), *depth()]


def training(rounds: int, cases: Mapping[str, Any] = _CASES, threads: int = 2) -> list[Row]:
    """Tokens a second of nanoGPT's training step, ours against PyTorch, from the same weights."""
    rows: list[Row] = []
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            shape = case["shape"]
            request = {**shape, **_inputs(shape, Path(folder))}
            nanogpt = (_PEERS / "transformer_nanogpt.py", "torch")
            ours = (_PEERS / "transformer_chainlab.py", "chainlab")
            variables = {
                "chainlab": {**_ALLOCATOR, "CHAINLAB_DEVICES": str(threads)},
                "chainlab, one device": {**_ALLOCATOR, "CHAINLAB_DEVICES": "1"},
                "nanogpt eager": {},
                "nanogpt eager, allocator": _ALLOCATOR,
                "nanogpt compiled": {"CHAINLAB_TORCH": "compile"},
                "nanogpt compiled, fused": {"CHAINLAB_TORCH": "compile+fused"},
                "nanogpt compiled, fused, allocator": {**_ALLOCATOR, "CHAINLAB_TORCH": "compile+fused"},
            }
            contenders = {name: ours if name.startswith("chainlab") else nanogpt for name in variables}
            timings, _, missing = compare(
                request,
                contenders,
                ours="chainlab",
                rounds=rounds,
                repeat=case["repeat"],
                threads=threads,
                variables=variables,
            )
        rows += _training_rows(name, case, timings, missing)
    return rows


def _training_rows(name: str, case: Any, timings: Any, missing: Mapping[str, str]) -> list[Row]:
    shape = case["shape"]
    work = shape["batch"] * shape["context"] * shape["dispatch"] * case["repeat"]
    rate = {who: work / statistics.median(row["seconds"] for row in rows) for who, rows in timings.items()}
    mine = [who for who in timings if who.startswith("chainlab")]
    best = max(mine, key=lambda who: rate[who])
    faster = {who: ratio for who, ratio in ratios(timings, best).items() if who not in mine}
    peers: dict[str, float | None] = {who: rate[who] for who in timings if who != best}
    peers |= dict.fromkeys(missing, None)
    memory = ", ".join(f"{who} {rows[-1]['peak_mib']:.0f}" for who, rows in timings.items())
    rows = [Row("training-rate", f"tokens/s, {name}", rate[best], peers=peers, note=f"{best}; peak MiB: {memory}")]
    for group, goal in case["goals"].items():
        there = [who for who in faster if who.startswith(group)]
        hardest = min(there, key=lambda who: faster[who][0], default=None)
        median, low, high = faster[hardest] if hardest else (None, 0.0, 0.0)
        note = f"{best} against {hardest}" if hardest else missing.get(group, "missing")
        row = Row(
            f"training-speed/{group}", f"tokens/s over the peer's, {name}", median, goal, spread=(low, high), note=note
        )
        rows.append(row)
    return rows


def _inputs(shape: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A text, weights and first batches that every contender starts from, as files."""
    import jax

    from chainlab.transformer import Architecture, export_state_dict, language_model, text_source

    try:
        _, text = text_source("tinyshakespeare", length=shape["context"])
        tokens, size = np.asarray(text.train, np.uint16), len(text.vocabulary)
    except MissingDataError:
        size = 65
        tokens = np.random.default_rng(0).integers(0, size, 1_000_000).astype(np.uint16)
    architecture = Architecture(**{name: shape[name] for name in ("layers", "heads", "dim", "context")})
    params = jax.jit(language_model(architecture, size).init)(jax.random.key(0))
    np.savez(folder / "weights.npz", **export_state_dict(params, architecture))
    np.save(folder / "tokens.npy", tokens)
    starts = np.random.default_rng(1).integers(0, len(tokens) - shape["context"], (4, shape["batch"]))
    return {
        "weights": str(folder / "weights.npz"),
        "tokens": str(folder / "tokens.npy"),
        "starts": starts.tolist(),
        "vocabulary": size,
    }


def attention(rounds: int) -> list[Row]:
    """Memory by XLA's plan, time, and agreement of blockwise attention, forward and backward."""
    import jax
    import jax.numpy as jnp

    from chainlab.transformer import blockwise_attention, softmax_attention

    def gradient(form: Callable[..., Any]) -> Any:
        return jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(form(*a))), (0, 1, 2)))

    def temporaries(form: Callable[..., Any], length: int) -> float:
        spec = jax.ShapeDtypeStruct((1, length, 4, 64), jnp.float32)
        return gradient(form).lower(spec, spec, spec).compile().memory_analysis().temp_size_in_bytes / 2**20

    small, large = (temporaries(blockwise_attention, length) for length in (2048, 8192))
    full = temporaries(softmax_attention, 8192)
    inputs = [jax.random.normal(jax.random.key(i), (1, 2048, 4, 64)) for i in range(3)]
    forms = {"blockwise": gradient(blockwise_attention), "full": gradient(softmax_attention)}
    results = {name: jax.block_until_ready(form(*inputs)) for name, form in forms.items()}
    error = max(
        float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
        for a, b in zip(results["blockwise"], results["full"], strict=True)
    )
    seconds = alternate({name: lambda f=f: jax.block_until_ready(f(*inputs)) for name, f in forms.items()}, rounds)
    relative = [a / b for a, b in zip(seconds["blockwise"], seconds["full"], strict=True)]
    case = "4 heads of 64, float32, forward and backward"
    return [
        Row("attention-memory", f"temporary MiB over q+k+v+o, T=8192, {case}", large / 32, "<= 2", {"full": full / 32}),
        Row("attention-memory/full", "temporary memory of the full form over ours, T=8192", full / large, ">= 50"),
        Row("attention-memory/growth", "temporary memory at T=8192 over T=2048", large / small, "<= 4.2"),
        Row("attention-gradients", "largest relative difference from the full form, T=2048", error, "<= 1e-5"),
        Row(
            "attention-time",
            f"time over the full form's, T=2048, {case}",
            statistics.median(relative),
            "<= 1",
            spread=(min(relative), max(relative)),
        ),
    ]


def generation(rounds: int) -> list[Row]:
    """Time of one generated token after a short and after a long context."""
    import jax
    import jax.numpy as jnp

    from chainlab.transformer import Architecture, language_model

    model = language_model(Architecture(layers=6, heads=6, dim=384, context=1024, positions="rotary"), 65)
    params = jax.jit(model.init)(jax.random.key(0))
    step = jax.jit(model.forward)
    token = jnp.zeros((1, 1), jnp.int32)

    def after(length: int) -> Callable[[], None]:
        cache = step(params, jnp.zeros((1, length), jnp.int32), cache=model.start(params, 1)).cache

        def tokens() -> None:
            held = cache
            for _ in range(15):
                held = step(params, token, cache=held).cache
            jax.block_until_ready(held)

        return tokens

    seconds = alternate({str(length): after(length) for length in (16, 1008)}, rounds)
    relative = [a / b for a, b in zip(seconds["1008"], seconds["16"], strict=True)]
    each = statistics.median(seconds["1008"]) / 15
    return [
        Row(
            "generation",
            "time of a token after 1,008 tokens over that after 16",
            statistics.median(relative),
            "<= 1.5",
            spread=(min(relative), max(relative)),
            note=f"{1e3 * each:.2f} ms a token, 6 layers, 384 dims",
        )
    ]


def depth() -> list[Row]:
    """Compile time of a training step of 48 scanned layers over that of 4."""
    import jax
    import jax.numpy as jnp

    from chainlab.transformer import Architecture, language_model, next_token

    def compile_seconds(layers: int) -> float:
        model = language_model(Architecture(layers=layers, execution="scan"), 65)
        tokens = jax.ShapeDtypeStruct((12, 64), jnp.int32)
        params = jax.eval_shape(model.init, jax.random.key(0))
        objective = next_token(model)
        gradient = jax.jit(jax.grad(lambda p, batch: objective(p, batch, None)[0]))
        began = time.perf_counter()
        gradient.lower(params, {"x": tokens, "y": tokens}).compile()
        return time.perf_counter() - began

    with uncached():
        compile_seconds(2)  # the first compilation pays for starting the compiler
        times = {layers: min(compile_seconds(layers) for _ in range(3)) for layers in (4, 48)}
    note = f"{times[4]:.2f} s and {times[48]:.2f} s"
    return [Row("compile-time", "compile time of 48 layers over 4, scanned", times[48] / times[4], "<= 1.5", note=note)]
