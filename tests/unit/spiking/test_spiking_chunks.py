"""Time in chunks that stay in the cache: the same numbers as layer by layer, and no copies kept."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import nn, spiking
from chainlab.spiking import chunks
from chainlab.spiking.config import EncoderConfig, NetworkConfig, NeuronConfig, ShapeName

STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 11, 2, 3, 4, 2


@pytest.fixture(scope="module")
def net():
    # sorted, the names are in another order than the layers, and of other sizes
    neuron = spiking.current_lif(HIDDEN, learn=("decay",), dtype=jnp.float64)
    first, second = nn.dense(INPUTS, HIDDEN, dtype=jnp.float64), nn.dense(HIDDEN, CLASSES, dtype=jnp.float64)
    return spiking.Network({"z": first, "y": neuron, "b": second, "a": spiking.leaky_integrator(CLASSES)})


def whole(objective):
    """The objective with every layer run over all steps before the next one."""

    def run(params, batch, key):
        network, loss = objective.network, objective.loss
        outputs = network.apply(params, batch["x"])
        carry = loss.fold(loss.start(outputs[0], batch["y"]), outputs, batch["y"])
        return loss.finish(carry, outputs.shape[0], batch["y"])[0], {}

    return run


def gradient(objective, params, batch, rule=spiking.bptt):
    (value, metrics), gradients = jax.jit(rule(objective))(params, batch, jax.random.key(0))
    return value, metrics, gradients


def assert_same(got, want):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.float64
        assert float(jnp.max(jnp.abs(b))) > 0
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(
    "kind", ["silent", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("array", "constant"))]
)
def test_chunks_change_nothing(net, kind, x64, monkeypatch):
    """Two steps to a chunk and one that remains."""
    monkeypatch.setattr(chunks, "_CHUNK_BYTES", 2 * BATCH * HIDDEN * 8)
    xs = jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUTS), jnp.float64) + 1
    xs = {
        "array": xs,
        "constant": spiking.Constant(xs[0], STEPS),
        "silent": spiking.Silent(xs[:4], jnp.zeros_like(xs[0]), STEPS, at=(0, 3, 4, 8)),
    }[kind]
    batch = {"x": xs, "y": jnp.arange(BATCH) % CLASSES}
    objective = spiking.Objective(net, spiking.step_cross_entropy())
    params = net.init(jax.random.key(0))
    value, metrics, got = gradient(objective, params, batch)
    want_value, _, want = gradient(whole(objective), params, batch)
    np.testing.assert_allclose(value, want_value, rtol=1e-12)
    assert_same(got, want)
    counts = net.unroll(params, net.rest(params, jnp.zeros((BATCH, INPUTS))), xs).counts["y"]
    np.testing.assert_allclose(metrics["rate/y"], counts.mean() / STEPS)


@pytest.mark.slow
def test_rules_know_the_last_layer_whatever_its_name(net, x64):
    fixed = spiking.Network({**net.layers, "y": spiking.lif(HIDDEN)})
    objective = spiking.Objective(fixed, spiking.count_cross_entropy())
    params = fixed.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUTS), jnp.float64) + 1
    batch = {"x": x, "y": jnp.arange(BATCH) % CLASSES}
    want = gradient(objective, params, batch)[2]
    for rule in (spiking.rtrl, spiking.eprop):
        assert_same(gradient(objective, params, batch, rule)[2], want)


def test_a_chunk_divides_time_where_it_can(monkeypatch):
    assert [chunks.cached_steps(500, size * 2**10) for size in (1, 32, 40)] == [500, 50, 50]
    assert chunks.cached_steps(97, 2**20) == 2
    assert chunks.cached_steps(7, 2**40) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chunks.cached_steps(500, 2**30) == 500


@pytest.mark.slow
def test_memory_by_the_compilers_plan():
    """Backpropagation keeps the membranes and no copy of the inputs; recomputing keeps to its budget."""
    size, steps, batch = 512, 2500, 16
    net = spiking.Network({"dense": nn.dense(size, size), "lif": spiking.lif(size)})
    objective = spiking.Objective(net, spiking.total_output())
    params = jax.eval_shape(net.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((steps, batch, size), jnp.float32)

    def mib(rule):
        def weights(params, x):
            (value, _), gradients = rule(objective)(params, {"x": x, "y": None}, jax.random.key(0))
            return value, gradients["dense"]

        return jax.jit(weights).lower(params, x).compile().memory_analysis().temp_size_in_bytes / 2**20

    membranes = steps * batch * size * 4 / 2**20
    assert membranes < mib(spiking.bptt) < 1.25 * membranes
    for budget in (8.0, 10.0):
        assert 0.5 * budget < mib(spiking.checkpointed(budget)) <= budget
    assert mib(spiking.online_trace) < 2


def test_a_network_of_a_config(key):
    assert set(get_args(ShapeName)) == set(spiking.shapes)
    model = NetworkConfig(hidden=(HIDDEN,), neuron=NeuronConfig(kind="current_lif", recurrent=0.5), readout="spikes")
    encoder = EncoderConfig(name="copies", copies=3)
    net = model.build(INPUTS, CLASSES, encoder)
    assert list(net.layers) == ["copies", "encoder", "dense0", "hidden0", "dense_out", "readout"]
    shapes = jax.eval_shape(net.init, key)
    assert shapes["dense0"]["weight"].shape == (9, HIDDEN)
    assert shapes["hidden0"]["weight"].shape == (HIDDEN, HIDDEN)
    assert encoder.encode(jnp.ones((BATCH, STEPS, INPUTS)), None).shape == (STEPS, BATCH, INPUTS)
    assert EncoderConfig(steps=7).encode(jnp.ones((BATCH, INPUTS)), None).steps == 7
