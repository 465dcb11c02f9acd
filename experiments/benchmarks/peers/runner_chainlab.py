"""The runner, a bare scan of the same step, and the MLP training step that PyTorch is compared with."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from worker import serve

from chainlab import data, nn
from chainlab.lab import supervised
from chainlab.lab.config.envelope import RunConfig
from chainlab.lab.loop import replica
from chainlab.lab.record import Record, create_folder
from chainlab.lab.runner import Runner


def classifier(case):
    """A task from a case: sizes, batch, examples and learning rate; He weights drawn by numpy."""
    sizes, rng = case["sizes"], np.random.default_rng(0)
    weights = [rng.normal(size=(a, b)).astype(np.float32) * np.sqrt(2 / a) for a, b in zip(sizes, sizes[1:])]  # noqa: B905, RUF007
    x = rng.normal(size=(case["examples"], sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], case["examples"]).astype(np.int32)
    model = nn.mlp(sizes)

    def init(key):
        params = model.init(key)
        for index, weight in enumerate(weights):
            params[f"dense{index}"]["weight"] = jnp.asarray(weight)
        return params

    def objective(params, batch, key):
        del key
        logits = model.apply(params, batch["x"])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), {}

    batches = data.in_memory({"x": x, "y": y}, case["batch"])
    if case.get("in_order"):
        steps, batch = case["examples"] // case["batch"], case["batch"]
        plan = lambda key, position: (position % steps) * batch + jnp.arange(batch)  # noqa: E731
        batches = data.Data(batches.arrays, plan, batches.gather)
    fixed = nn.Model(init, model.apply)
    return supervised(fixed, objective, optax.adam(case["learning_rate"]), batches, evaluate=lambda p, s: {})


def through_runner(task, steps):
    """Steps through the runner: dispatches, metrics, lines, a checkpoint at the end of the first call only."""
    root = Path(tempfile.mkdtemp())
    runner = Runner(task, RunConfig(steps=10**9, log_every=100), (0,), Record(create_folder(root, "bench", "0" * 8)))
    runner.save = lambda: None

    def step():
        runner.run(until=runner.position.step + steps)

    return step, runner


def bare(task, steps):
    """What one would write by hand: one jitted scan with donated state, metrics stacked."""

    arrays = jax.device_put(task.data.arrays)

    def block(carry, first):
        positions = first + jnp.arange(steps)
        plans = jax.vmap(task.data.plan, (None, 0))(carry.order, positions)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(carry.noise, positions)
        body = lambda state, inputs: task.step(state, task.data.gather(arrays, inputs[0]), inputs[1])  # noqa: E731
        state, metrics = jax.lax.scan(body, carry.state, (plans, keys))
        return carry.replace(state=state), metrics

    block = jax.jit(block, donate_argnums=0)
    held = {"carry": jax.jit(lambda: replica(task, 0))(), "step": 0}

    def step():
        held["carry"], metrics = block(held["carry"], held["step"])
        jax.device_get(metrics)
        held["step"] += steps

    return step, held


def prepare(case):
    """Compile, warm up, and report the loss of the last of `case["steps"]` first steps."""
    task = classifier(case)
    if case["form"] == "bare":
        step, held = bare(task, case["steps"])
        step()
        last = held["carry"].state.params
    else:
        step, runner = through_runner(task, case["steps"])
        step()
        last = runner.current.state.params
    norms = [
        float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(layer)))) for layer in last.values() if layer
    ]
    return step, norms


serve(prepare)
