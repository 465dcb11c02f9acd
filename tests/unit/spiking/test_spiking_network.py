"""Networks under laws: sequence types, jit, vmap, losses, convolution, delays, the audit and the figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import nn, spiking
from chainlab.errors import UsageError
from chainlab.spiking.config import NeuronConfig

STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 12, 3, 5, 6, 4


@pytest.fixture(scope="module")
def net():
    surrogate = spiking.Surrogate("fast_sigmoid", scale=5.0)
    return spiking.Network(
        {
            "in": nn.dense(INPUTS, HIDDEN, bias=False),
            "hidden": spiking.current_lif(HIDDEN, decay=0.9, synaptic_decay=0.8, surrogate=surrogate),
            "out": nn.dense(HIDDEN, CLASSES, bias=False),
            "readout": spiking.leaky_integrator(CLASSES, decay=0.9),
        }
    )


@pytest.fixture(scope="module")
def spikes():
    return (jax.random.uniform(jax.random.key(3), (STEPS, BATCH, INPUTS)) < 0.4).astype(jnp.float32)


@pytest.mark.slow
def test_sequence_types_stand_for_arrays(net, spikes, key):
    """Outputs and gradients of a `Constant` and of a `Silent` sequence are those of the arrays."""
    params = net.init(key)
    silent = spiking.Silent(spikes[:4], jnp.zeros_like(spikes[0]), STEPS, at=(1, 3, 4, 8))
    for sequence in (spiking.Constant(spikes[0], STEPS), silent):

        def loss(params, xs):
            outputs = net.apply(params, xs)
            return jnp.sum(jnp.sin(outputs)), outputs

        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (_, got), got_gradient = run(params, sequence)
        (_, want), want_gradient = run(params, sequence.expand())
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        for a, b in zip(jax.tree.leaves(got_gradient), jax.tree.leaves(want_gradient), strict=True):
            assert float(jnp.max(jnp.abs(b))) > 0
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_silent_sequence_saves_the_products(net, key):
    """The first product is over the coded steps alone: fewer floating-point operations in the compiled program."""
    x = jnp.ones((64, INPUTS))
    wide = spiking.Network({"in": nn.dense(INPUTS, 512), "hidden": spiking.lif(512)})
    params = wide.init(key)
    code = spiking.latency(x, 100)
    costs = [jax.jit(wide.apply).lower(params, xs).compile().cost_analysis()["flops"] for xs in (code, code.expand())]
    assert costs[0] < 0.8 * costs[1]


@pytest.mark.slow
def test_jit_vmap_and_record_agree_with_the_plain_call(net, spikes, key):
    params = net.init(key)
    want = net.apply(params, spikes)
    np.testing.assert_allclose(jax.jit(net.apply)(params, spikes), want, rtol=1e-5, atol=1e-6)
    each = jax.vmap(net.apply, in_axes=(None, 1), out_axes=1)(params, spikes)
    np.testing.assert_allclose(each, want, rtol=1e-5, atol=1e-6)
    record = net.record(params, spikes)
    np.testing.assert_allclose(record["readout"]["outputs"], want, rtol=1e-5, atol=1e-6)
    assert record["hidden"]["membrane"].shape == (STEPS, BATCH, HIDDEN)


@pytest.mark.slow
def test_running_on_from_a_state_is_running_at_once(net, spikes, key):
    params = net.init(key)
    start = net.rest(params, spikes[0])
    once = net.unroll(params, start, spikes)
    half = net.unroll(params, start, spikes[:7])
    rest = net.unroll(params, half.state, spikes[7:])
    np.testing.assert_allclose(jnp.concatenate([half.outputs, rest.outputs]), once.outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(half.counts["hidden"] + rest.counts["hidden"], once.counts["hidden"])


@pytest.mark.slow
def test_every_surrogate_trains_a_network(spikes, key):
    """Gradients are finite and not all zero for every shape (a silently zero surrogate is the bug to catch)."""
    labels = jnp.arange(BATCH) % CLASSES
    for shape in spiking.shapes:
        surrogate = spiking.Surrogate(shape, scale=1.0)
        layers = {"in": nn.dense(INPUTS, HIDDEN), "hidden": spiking.lif(HIDDEN, surrogate=surrogate)}
        small = spiking.Network({**layers, "out": nn.dense(HIDDEN, CLASSES)})
        objective = spiking.Objective(small, spiking.count_cross_entropy())
        gradient = jax.grad(lambda p, o=objective: o(p, {"x": spikes, "y": labels}, key)[0])(small.init(key))
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient)), shape
        assert float(jnp.abs(gradient["in"]["weight"]).max()) > 1e-6, shape


@pytest.mark.slow
def test_losses_are_folds_over_time(key):
    """Folding in two parts is folding at once, and the call is start, fold and finish."""
    outputs = jax.random.uniform(key, (STEPS, BATCH, CLASSES))
    labels = jnp.arange(BATCH) % CLASSES
    for name, make in spiking.losses.items():
        loss = make()
        carry = loss.start(outputs[0], labels)
        for part in (outputs[:5], outputs[5:]):
            carry = loss.fold(carry, part, labels)
        value, logits = loss.finish(carry, STEPS, labels)
        np.testing.assert_allclose(value, loss(outputs, labels), rtol=1e-5, err_msg=name)
        assert logits.shape == (BATCH, CLASSES)


@pytest.mark.slow
def test_losses_have_their_defined_values():
    spikes = jnp.zeros((4, 1, 2)).at[1, 0, 0].set(1.0).at[3, 0, 0].set(1.0)
    label = jnp.array([0])
    entropy = lambda logits: float(-jax.nn.log_softmax(jnp.array(logits))[0])  # noqa: E731
    wanted = {
        "count_cross_entropy": entropy([2.0, 0.0]),
        "mean_cross_entropy": entropy([0.5, 0.0]),
        "step_cross_entropy": (entropy([1.0, 0.0]) + entropy([0.0, 0.0])) / 2,
        "max_membrane": entropy([1.0, 0.0]),
        "first_spike_time": entropy([-1.0, -4.0]),
        "rate_mean_square": (0.3**2 + 0.1**2) / 2,
        "total_output": 2.0,
    }
    for name, make in spiking.losses.items():
        np.testing.assert_allclose(make()(spikes, label), wanted[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["count_cross_entropy", "step_cross_entropy"])
def test_sums_over_time_are_wider_than_half_precision(name):
    """bfloat16 has no 599: the logits of two classes one spike apart would be equal."""
    outputs = jnp.ones((600, 1, 2), jnp.bfloat16).at[-1, 0, 1].set(0)
    loss, labels = spiking.losses[name](), jnp.array([0])
    carry = loss.fold(loss.start(outputs[0], labels), outputs, labels)
    logits = loss.finish(carry, 600, labels)[1]
    np.testing.assert_array_equal(logits, [[600.0, 599.0]])


def test_adaptive_neurons_refuse_another_reset_than_their_own():
    surrogate = spiking.arctan
    for option in ({"reset": "zero"}, {"timing": "immediate"}, {"normalize": True}):
        with pytest.raises(UsageError, match=f"adaptive_lif .* got {next(iter(option))}"):
            NeuronConfig(kind="adaptive_lif", **option).build(3, surrogate)


@pytest.mark.slow
def test_delays_are_learnt(key, x64):
    """Gradient descent on the time of one spike finds the delay it was given."""
    layer = spiking.delay(1, 8, dtype=jnp.float64)
    xs = jnp.zeros((16, 1)).at[2, 0].set(1.0)
    smooth = jnp.exp(-0.5 * jnp.square((jnp.arange(16.0)[:, None] - jnp.arange(16.0)[None]) / 2))
    run = lambda d: layer.unroll({"delay": d}, layer.rest({}, xs[0]), xs)[1]  # noqa: E731
    target = smooth @ run(jnp.array([4.5]))
    loss = lambda d: jnp.sum(jnp.square(smooth @ run(d) - target))  # noqa: E731
    delay, step = jnp.array([1.2]), 1e-6
    slope = jax.grad(loss)(delay)
    np.testing.assert_allclose(slope[0], (loss(delay + step) - loss(delay - step)) / (2 * step), rtol=1e-6)
    descend = jax.jit(lambda d: d - 0.2 * jax.grad(loss)(d))
    for _ in range(60):
        delay = descend(delay)
    np.testing.assert_allclose(delay, 4.5, atol=0.05)


@pytest.mark.slow
def test_spiking_convolution(key):
    net = spiking.Network(
        {
            "convolution": nn.convolution(1, 3, (3, 3)),
            "hidden": spiking.lif(3),
            "pool": spiking.sum_pool(2),
            "flat": spiking.flatten(),
            "out": nn.dense(12, 2),
            "readout": spiking.leaky_integrator(2),
        }
    )
    params = net.init(key)
    images = jax.random.uniform(key, (2, 4, 4, 1)) * 3
    xs = spiking.Constant(images, 5)
    outputs = net.apply(params, xs)
    assert outputs.shape == (5, 2, 2)
    np.testing.assert_allclose(outputs, net.apply(params, xs.expand()), rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="window of 3 must divide"):
        spiking.sum_pool(3).apply({}, images)


@pytest.mark.slow
def test_izhikevich_fires_tonically():
    neuron = spiking.izhikevich(1)
    currents = jnp.full((2000, 1), 10.0)
    spikes = spiking.scan(neuron, {}, neuron.rest({}, currents[0]), currents)[1]
    assert 10 < float(spikes.sum()) < 100  # about 20 spikes in a second at this current
    with pytest.raises(UsageError, match="regular_spiking"):
        spiking.izhikevich(1, kind="bursting")


@pytest.mark.slow
def test_the_audit_names_layers_and_knows_exact_rules(net, spikes, key):
    params = net.init(key)
    params["in"]["weight"] = jnp.abs(params["in"]["weight"]) * 0.5
    objective = spiking.Objective(net, spiking.mean_cross_entropy())
    batch = {"x": spikes, "y": jnp.arange(BATCH) % CLASSES}
    sharper = spiking.Surrogate("fast_sigmoid", scale=50.0)
    layers = {**net.layers, "hidden": spiking.current_lif(HIDDEN, decay=0.9, synaptic_decay=0.8, surrogate=sharper)}
    variants = {"sharper": spiking.Objective(spiking.Network(layers), objective.loss)}
    rows = spiking.audit(objective, params, batch, key, variants=variants)
    found = {(row["gradient"], row["layer"]): row for row in rows}
    assert {name for name, _ in found} >= {"bptt", "eprop", "ottt", "exact", "sharper"}
    assert {layer for _, layer in found} == {"in", "out"}
    for layer in ("in", "out"):
        assert found["bptt", layer]["cosine to bptt"] == pytest.approx(1.0)
        assert found["eprop", layer]["cosine to bptt"] == pytest.approx(1.0, abs=1e-3)  # exact below a leaky readout
        assert found["exact", layer]["cosine to exact"] == pytest.approx(1.0)
    assert found["sharper", "in"]["cosine to bptt"] < 0.999


@pytest.mark.slow
def test_figures_show_every_layer(net, spikes, key):
    record = spiking.record(net, net.init(key), spikes)
    assert [axis.get_ylabel() for axis in spiking.raster(record).axes] == ["hidden\n(neuron)"]
    assert len(spiking.membranes(record, net).axes) == 2
    (row,) = spiking.firing_rates(record, net)
    assert row["layer"] == "hidden"
    assert row["mean"] == pytest.approx(record["hidden"]["outputs"].mean(), abs=1e-4)


@pytest.mark.slow
def test_classical_classifiers():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    part = {"x": rng.normal(size=(60, 2, 3)) + 3 * y[:, None, None], "y": y}
    svm, logistic = spiking.classical(part, part, names=["SVM (RBF, C=10)", "logistic regression"], most=40)
    assert (svm["trained on"], logistic["trained on"]) == (40, 60)
    assert min(svm["test accuracy"], logistic["test accuracy"]) > 0.95
    with pytest.raises(UsageError, match="unknown classifier"):
        spiking.classical(part, part, names=["perceptron"])


@pytest.mark.slow
def test_an_evaluation_in_parts_is_that_of_the_whole(net, spikes, key):
    objective = spiking.Objective(
        net, spiking.mean_cross_entropy(), lambda batch, key: (batch["x"].swapaxes(0, 1), batch["y"])
    )
    split = {"x": spikes.swapaxes(0, 1), "y": jnp.arange(BATCH) % CLASSES}
    want = objective(net.init(key), split, key)
    got = spiking.over_parts(objective, net.init(key), split, 2)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    np.testing.assert_allclose(got[1]["accuracy"], want[1]["accuracy"], rtol=1e-5)


@pytest.mark.slow
def test_bfloat16_products_are_close_and_keep_their_type(key):
    full, half = nn.dense(64, 32, bias=False), spiking.dense_bfloat16(64, 32)
    params = full.init(key)
    spikes = (jax.random.uniform(key, (10, 4, 64)) < 0.3).astype(jnp.float32)
    want, got = full.apply(params, spikes), half.apply(params, spikes)
    assert got.dtype == jnp.float32
    assert 0 < float(jnp.max(jnp.abs(got - want))) < 2**-7 * float(jnp.max(jnp.abs(want)))
    gradient = jax.grad(lambda p: jnp.sum(jnp.sin(half.apply(p, spikes))))(params)["weight"]
    true = jax.grad(lambda p: jnp.sum(jnp.sin(full.apply(p, spikes))))(params)["weight"]
    assert gradient.dtype == jnp.float32
    assert float(jnp.linalg.norm(gradient - true)) < 0.02 * float(jnp.linalg.norm(true))
