"""Exchanges: against NumPy, over a mesh as over vmapped workers, and what travels in the compiled program."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from chainlab.errors import UsageError
from chainlab.optim import compression
from chainlab.optim.compression import ExchangeConfig, build_exchange

pytestmark = pytest.mark.usefixtures("standard_promotion")
WORKERS = 4


def gradients(rng, steps):
    shapes = {"vector": (7,), "weight": (12, 9)}
    return [
        {name: jnp.asarray(rng.normal(size=(WORKERS, *shape)), jnp.float32) for name, shape in shapes.items()}
        for _ in range(steps)
    ]


def like(stacked):
    return jax.tree.map(lambda leaf: leaf[0], stacked)


@pytest.mark.slow
def test_power_sgd_with_feedback_is_the_numpy_algorithm(rng):
    steps = gradients(rng, 3)
    exchange = compression.error_feedback(compression.power_sgd(rank=2, seed=3))
    transform = compression.combine(exchange, WORKERS)
    state = transform.init(like(steps[0]))
    q = np.asarray(state.memory["inner"][1][0], np.float64)
    error = np.zeros((WORKERS, 12, 9))
    for step in steps:
        got, state = transform.update(step, state)
        matrices = np.asarray(step["weight"], np.float64) + error
        p = np.linalg.qr(np.mean(matrices @ q, axis=0))[0]
        each = np.swapaxes(matrices, 1, 2) @ p
        error = matrices - p @ np.swapaxes(each, 1, 2)
        q = np.mean(each, axis=0)
        np.testing.assert_allclose(got["weight"], p @ q.T, rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(got["vector"], np.mean(np.asarray(step["vector"]), axis=0), rtol=1e-5, atol=1e-7)
        assert np.all(np.linalg.norm(error, axis=(1, 2)) < np.linalg.norm(matrices, axis=(1, 2)))
    assert exchange.sent_bytes(like(steps[0])) == 4 * (2 * (12 + 9) + 7)


@pytest.mark.slow
def test_power_iteration_finds_a_matrix_of_its_rank(rng):
    matrix = jnp.asarray(rng.normal(size=(12, 2)) @ rng.normal(size=(2, 9)), jnp.float32)
    transform = compression.combine(compression.power_sgd(rank=2), 2)
    mean, _ = transform.update({"w": jnp.stack([matrix, matrix])}, transform.init({"w": matrix}))
    np.testing.assert_allclose(mean["w"], matrix, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_error_feedback_loses_nothing(rng):
    steps = gradients(rng, 6)
    exchange = compression.error_feedback(compression.gather(compression.top_k(0.2)))
    transform = compression.combine(exchange, WORKERS)
    state, sent = transform.init(like(steps[0])), 0.0
    for step in steps:
        mean, state = transform.update(step, state)
        sent = sent + np.asarray(mean["weight"], np.float64)
    given = sum(np.mean(np.asarray(step["weight"], np.float64), axis=0) for step in steps)
    left = np.mean(np.asarray(state.memory["error"]["weight"]), axis=0)
    np.testing.assert_allclose(sent + left, given, atol=1e-5)
    assert np.count_nonzero(left) > 50


@pytest.mark.slow
def test_momentum_correction_is_deep_gradient_compression(rng):
    steps = gradients(rng, 4)
    exchange = compression.momentum_correction(compression.gather(compression.top_k(0.1)), 0.9)
    transform = compression.combine(exchange, WORKERS)
    state = transform.init(like(steps[0]))
    u, v = np.zeros((WORKERS, 108)), np.zeros((WORKERS, 108))
    for step in steps:
        mean, state = transform.update(step, state)
        u = 0.9 * u + np.asarray(step["weight"], np.float64).reshape(WORKERS, -1)
        v = v + u
        mask = np.zeros_like(v)
        np.put_along_axis(mask, np.argsort(-np.abs(v), axis=1)[:, :10], 1.0, axis=1)
        np.testing.assert_allclose(mean["weight"].reshape(-1), np.mean(mask * v, axis=0), rtol=1e-4, atol=1e-6)
        u, v = u * (1 - mask), v * (1 - mask)


@pytest.mark.slow
def test_a_code_that_sends_everything_gives_the_mean(rng):
    steps = gradients(rng, 3)
    transform = compression.combine(compression.momentum_correction(compression.gather(compression.top_k(1.0)), 0.0), 4)
    state = transform.init(like(steps[0]))
    for step in steps:
        mean, state = transform.update(step, state)
        np.testing.assert_allclose(mean["weight"], jnp.mean(step["weight"], axis=0), rtol=1e-5, atol=1e-6)


_MORE = [pytest.param(name, marks=pytest.mark.slow) for name in ("bfloat16", "int8", "one_bit", "qsgd", "power_sgd")]


@pytest.mark.parametrize("name", ["top_k", *_MORE])
def test_over_a_mesh_as_over_vmapped_workers_with_the_bytes_it_counts(name, rng):
    (stacked,) = gradients(rng, 1)
    exchange = build_exchange(ExchangeConfig(name=name, fraction=0.1))
    transform = compression.combine(exchange, WORKERS)
    want, _ = transform.update(stacked, transform.init(like(stacked)))
    mesh = jax.make_mesh(
        (WORKERS,), ("data",), devices=jax.devices()[:WORKERS], axis_types=(jax.sharding.AxisType.Auto,)
    )
    local = compression.across(exchange, "data")

    def worker(gradient):
        own = like(gradient)
        return local.update(own, local.init(own))[0]

    spec, tolerance = PartitionSpec("data"), 1e-2 if name == "bfloat16" else 1e-5  # bfloat16 sums in another order
    program = jax.jit(jax.shard_map(worker, mesh=mesh, in_specs=spec, out_specs=PartitionSpec(), check_vma=False))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=tolerance), program(stacked), want)
    assert traffic(program.lower(stacked)) == exchange.sent_bytes(like(stacked))


def traffic(lowered):
    """Bytes of the operands of a lowered program's collectives."""
    width = {"f32": 4, "bf16": 2, "i8": 1, "ui8": 1, "ui16": 2, "ui32": 4, "i32": 4}
    text, total = lowered.as_text(), 0
    for line in text.split("\n"):
        found = re.search(r": \(tensor<([\dx]*)(\w+)>", line) if "stablehlo.all_gather" in line else None
        if found:
            total += int(np.prod([int(n) for n in found[1].split("x") if n])) * width[found[2]]
    for found in re.finditer(r"stablehlo\.all_reduce.*?\}\) : \(tensor<([\dx]*)(\w+)>\)", text, re.DOTALL):
        total += int(np.prod([int(n) for n in found[1].split("x") if n])) * width[found[2]]
    return total


def test_workers_that_do_not_divide_the_batch_are_named():
    objective = lambda params, batch, key: (jnp.sum(params * batch["x"]), {})  # noqa: E731
    rule = compression.per_worker(3)(objective)
    with pytest.raises(UsageError, match="3 workers do not divide a batch of 8"):
        rule(jnp.float32(1), {"x": jnp.ones(8)}, jax.random.key(0))
    transform = compression.combine(compression.all_reduce(), 3)
    with pytest.raises(UsageError, match="gradients of 3 workers"):
        transform.update(jnp.ones((4, 2)), transform.init(jnp.ones(2)))


def test_per_worker_gradients_average_to_the_whole(rng, key):
    def objective(params, batch, key):
        return jnp.mean((batch["x"] @ params) ** 2), {"first": batch["x"][0, 0]}

    batch = {"x": jnp.asarray(rng.normal(size=(8, 3)), jnp.float32)}
    params = jnp.asarray(rng.normal(size=3), jnp.float32)
    (value, metrics), each = compression.per_worker(4)(objective)(params, batch, key)
    (want, _), gradient = jax.value_and_grad(objective, has_aux=True)(params, batch, key)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(each, axis=0), gradient, rtol=1e-5)
    np.testing.assert_allclose(metrics["first"], jnp.mean(batch["x"][::2, 0]), rtol=1e-6)


@pytest.mark.slow
def test_it_composes_with_optax(rng):
    target = jnp.asarray(rng.normal(size=12), jnp.float32)
    exchange = compression.error_feedback(compression.gather(compression.top_k(0.25)))
    optimizer = optax.chain(compression.combine(exchange, 4), optax.sgd(0.2))

    def step(carry, _):
        params, state = carry
        noise = jnp.arange(4.0)[:, None] - 1.5  # the workers disagree, their mean is right
        updates, state = optimizer.update(jnp.broadcast_to(params - target, (4, 12)) + noise, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.zeros(12)
    (params, _), _ = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), None, length=300))()
    assert float(jnp.max(jnp.abs(params - target))) < 0.5 * float(jnp.max(jnp.abs(target)))
