"""Parallel training: one loss curve under every mesh, the planner against XLA, and compressed gradients."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chainlab.lab.bench import Row

_STEPS = 50
_MESHES: dict[str, list[dict[str, Any]]] = {
    "mlp": [{"data": 8}, {"fsdp": 8}, {"tensor": 8}, {"data": 2, "fsdp": 2, "tensor": 2}],
    "transformer": [
        {"data": 8},
        {"fsdp": 8},
        {"tensor": 4},
        {"sequence": 8},
        {"pipeline": 4},
        {"data": 2, "pipeline": 4, "schedule": "1f1b"},
        {"data": 2, "pipeline": 2, "tensor": 2},
        {"fsdp": 2, "pipeline": 2, "sequence": 2},
    ],
    "mixture of experts": [{"data": 2, "expert": 4}],
}
_PLANNED = [
    {"data": 8},
    {"fsdp": 16},
    {"data": 4, "fsdp": 4},
    {"data": 4, "tensor": 4},
    {"data": 4, "pipeline": 4},
]
_PROCESSES = """
experiment: mlp
model: {hidden: [64]}
batch_size: 64
run: {steps: 50, log_every: 1, block: 10}
"""


def _task(name: str) -> Any:
    from chainlab.experiments.mlp import MlpConfig, NetworkConfig, mlp
    from chainlab.experiments.transformer import TransformerConfig, transformer

    from chainlab.optim.config import OptimizerConfig
    from chainlab.transformer import Architecture, Experts, Optimization

    if name == "mlp":
        optimizer = OptimizerConfig(name="adamw", learning_rate=1e-3)
        return mlp(MlpConfig(model=NetworkConfig(hidden=(64,)), batch_size=64, optimizer=optimizer))
    shape: dict[str, Any] = {"layers": 4, "heads": 4, "dim": 32, "context": 64, "execution": "scan"}
    if name == "mixture of experts":
        shape |= {"layers": 2, "experts": Experts(count=4, active=2)}
    steps = Optimization(name="adamw", learning_rate=1e-3, warmup=5, steps=100)
    return transformer(TransformerConfig(model=Architecture(**shape), optimizer=steps, batch_size=16))


def _losses(task: Any, mesh: dict[str, Any] | None) -> np.ndarray:
    import jax

    from chainlab.lab.loop import build
    from chainlab.lab.sharded import lay_out, shard
    from chainlab.parallel import MeshConfig

    if mesh is None:
        loop = build(task, [0], _STEPS)
        return np.asarray(loop.steps(loop.start(), 0, _STEPS, task.data.arrays)[1]["loss"])
    layout = lay_out(task, MeshConfig(**mesh))
    with layout.use():
        loop = build(shard(task, layout), [0], _STEPS)
        arrays = jax.device_put(task.data.arrays, layout.whole)
        return np.asarray(loop.steps(loop.start(), 0, _STEPS, arrays)[1]["loss"])


def _difference(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.max(np.abs(got - want) / np.abs(want)))


def curves() -> Iterator[Row]:
    """Largest relative difference of the loss curve of eight virtual devices to that of one."""
    for name, meshes in _MESHES.items():
        task = _task(name)
        want = _losses(task, None)
        for mesh in meshes:
            text = ", ".join(f"{axis} {size}" for axis, size in mesh.items())
            found = _difference(_losses(task, mesh), want)
            note = f"loss {want[0]:.3f} to {want[-1]:.3f}"
            case = f"{name}, {_STEPS} steps, {text}: loss against 1 device"
            yield Row("parallel/curve", case, found, "<= 1e-5", note=note)


def processes() -> Iterator[Row]:
    """The same for two and four processes on loopback."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "small.yaml"
        config.write_text(_PROCESSES)

        def run(*options: str) -> np.ndarray:
            command = [sys.executable, "-m", "chainlab", "run", str(config), "--json", "-q", "--out", scratch, *options]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            folder = Path(json.loads(done.stdout)["run"])
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            return np.asarray([row["metrics"]["loss"] for row in rows])

        want = run()
        for count, mesh, virtual in ((2, "{data: 2}", 2), (2, "{data: 2, fsdp: 2}", 4), (4, "{fsdp: 4}", 4)):
            got = run(f"mesh={mesh}", "--processes", str(count), "--virtual-devices", str(virtual))
            case = f"mlp, {_STEPS} steps, {count} processes, {mesh}: loss against 1 device"
            yield Row("parallel/curve", case, _difference(got, want), "<= 1e-5")


def planner() -> Iterator[Row]:
    """The planned memory of a device against XLA's own plan, on meshes that are compiled here."""
    from chainlab.experiments.transformer import TransformerConfig, transformer

    from chainlab.lab.memory import shapes
    from chainlab.lab.plan import Hardware, compiled_memory, plan
    from chainlab.parallel import MeshConfig
    from chainlab.transformer import Architecture, Optimization

    shape = Architecture(layers=8, heads=8, dim=256, context=64, execution="scan", remat="full")
    steps = Optimization(name="adamw", learning_rate=1e-3, warmup=5, steps=100)
    task = transformer(TransformerConfig(model=shape, optimizer=steps, batch_size=128))
    for mesh in _PLANNED:
        config = MeshConfig(**mesh)
        actual = compiled_memory(task, config, *shapes(task))
        found = plan(task, config, Hardware())
        error = abs(found.total_bytes - actual["total"]) / actual["total"]
        text = ", ".join(f"{axis} {size}" for axis, size in mesh.items())
        note = (
            f"planned {found.total_bytes / 2**20:.1f} MiB, XLA {actual['total'] / 2**20:.1f} MiB; temporary "
            f"{found.temporary_bytes / 2**20:.1f} against {actual['temporary'] / 2**20:.1f}"
        )
        case = f"relative error of the memory of a device, {text}"
        yield Row("parallel/planner", case, error, "<= 0.1", note=note)


def _train(exchange: Any, rates: np.ndarray, seeds: np.ndarray, *, momentum: float, steps: int = 6000) -> np.ndarray:
    """Final objective over the training set, by learning rate and seed."""
    import jax
    import jax.numpy as jnp
    import optax

    from chainlab import nn
    from chainlab.data.config import DatasetConfig
    from chainlab.optim import compression

    dataset = DatasetConfig(name="digits").load().flat()
    data = dataset.batches(64)
    model = nn.mlp((64, 32, 10))
    joined = compression.combine(exchange, 8)

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        logits = model.apply(params, batch["x"], key=key)
        penalty = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]))
        return loss + 1e-3 / 2 * penalty, {}

    rule = compression.per_worker(8)(objective)
    rest = optax.trace(momentum) if momentum else optax.identity()

    def final(rate: Any, seed: Any) -> Any:
        key = jax.random.key(seed)

        def step(carry: Any, t: Any) -> Any:
            params, memory, inner = carry
            gradients = rule(params, data.batch(key, t), key)[1]
            mean, memory = joined.update(gradients, memory)
            direction, inner = rest.update(mean, inner)
            now = t.astype(jnp.float32)
            scale = rate * jnp.minimum(20 * now / steps, 1) * (1 - now / steps)
            params = jax.tree.map(lambda p, d: p - scale * d, params, direction)
            return (params, memory, inner), None

        params = model.init(key)
        start = (params, joined.init(params), rest.init(params))
        (params, _, _), _ = jax.lax.scan(step, start, jnp.arange(steps, dtype=jnp.int32))
        whole = dataset.transform(dataset.train) if dataset.transform else dataset.train
        return objective(params, whole, key)[0]

    every = jax.jit(jax.vmap(jax.vmap(final, (None, 0)), (0, None)))
    return np.asarray(every(jnp.asarray(rates, jnp.float32), jnp.asarray(seeds, jnp.int32)))


def compression(*only: str) -> Iterator[Row]:
    """Final loss and bytes of codes against dense gradients, each with the best of the same rates on other seeds."""
    import jax

    from chainlab import nn
    from chainlab.optim.compression import ExchangeConfig, build_exchange

    rates, tuning, seeds = np.asarray([0.05, 0.1, 0.2, 0.3, 0.4, 0.6]), np.arange(2), np.arange(5, 10)
    params = jax.eval_shape(nn.mlp((64, 32, 10)).init, jax.random.key(0))
    codes = {
        "dense": (ExchangeConfig(), 0.9),
        "top-k 1 %, momentum correction": (ExchangeConfig(name="top_k", fraction=0.01, momentum=0.9), 0.0),
        "one bit, error feedback": (ExchangeConfig(name="one_bit"), 0.0),
        "PowerSGD rank 2, error feedback": (ExchangeConfig(name="power_sgd"), 0.9),
    }
    dense, dense_rate, whole = np.zeros(0), 0.0, 0
    for name, (config, momentum) in codes.items():
        if only and name not in ("dense", *only):
            continue
        exchange = build_exchange(config)
        grid = np.mean(_train(exchange, rates, tuning, momentum=momentum), axis=1)
        best = float(rates[int(np.nanargmin(grid))])
        final = _train(exchange, np.asarray([best]), seeds, momentum=momentum)[0]
        sent = exchange.sent_bytes(params)
        if name == "dense":
            dense, dense_rate, whole = final, best, sent
            continue
        loss_goal, bytes_goal = ("<= 1.02", ">= 50") if name.startswith("top-k") else ("", "")
        ratio, ratios = float(np.mean(final) / np.mean(dense)), final / dense
        note = (
            f"{np.mean(final):.4f} ± {np.std(final):.4f} at rate {best:g} against {np.mean(dense):.4f} ± "
            f"{np.std(dense):.4f} at {dense_rate:g}, 5 seeds"
        )
        spread = (float(ratios.min()), float(ratios.max()))
        yield Row("parallel/compressed-loss", f"final loss over dense, {name}", ratio, loss_goal, {}, spread, note)
        note = f"{sent} against {whole} bytes a worker and step"
        case = f"bytes of dense gradients over {name}"
        yield Row("parallel/compressed-bytes", case, whole / sent, bytes_goal, note=note)


def bench(rounds: int = 1) -> Iterator[Row]:
    """Every figure of parallel training; none is a timing, so that rounds do not matter."""
    import jax

    del rounds
    jax.config.update("jax_num_cpu_devices", 16)
    for part in (curves, processes, planner, compression):
        yield from part()
