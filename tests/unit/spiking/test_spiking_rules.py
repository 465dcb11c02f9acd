"""Every learning rule against brute-force real-time recurrent learning, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import nn, spiking
from chainlab.errors import UsageError

STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 9, 2, 3, 4, 2
F64 = {"dtype": jnp.float64}
EVERY = ("decay", "synaptic_decay", "threshold")


def dense(inputs, outputs):
    return nn.dense(inputs, outputs, weight_init=jax.nn.initializers.normal(1.0), **F64)


def network(*neurons, head=None, head_bias=True):
    """Dense layers and the given neurons in turn, then a dense layer and `head`."""
    layers = {}
    for index, neuron in enumerate(neurons):
        layers[f"dense{index}"] = dense(HIDDEN if index else INPUTS, HIDDEN)
        layers[f"neuron{index}"] = neuron
    layers["out"] = dense(HIDDEN, CLASSES)
    if head is not None:
        layers["head"] = head
    return spiking.Network(layers)


def problem(net, loss=None, seed=0, constant=False):
    keys = jax.random.split(jax.random.key(seed), 3)
    objective = spiking.Objective(net, loss or spiking.count_cross_entropy())
    shape = (BATCH, INPUTS) if constant else (STEPS, BATCH, INPUTS)
    x = jax.random.normal(keys[0], shape, jnp.float64) + 0.5
    batch = {"x": spiking.Constant(x, STEPS) if constant else x, "y": jnp.arange(BATCH) % CLASSES}
    return objective, net.init(keys[1]), batch


def gradient(rule, objective, params, batch):
    (value, metrics), gradients = jax.jit(rule(objective))(params, batch, jax.random.key(0))
    return value, metrics, gradients


def assert_same(got, want, tolerance=1e-10):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=jax.tree_util.keystr(path))


def some(tree):
    """Whether a gradient is worth comparing: every leaf has an entry that is not zero."""
    return all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(tree))


NETWORKS = {
    "lif": lambda: network(spiking.lif(HIDDEN)),
    "learnt": lambda: network(spiking.current_lif(HIDDEN, learn=EVERY, spread=0.2, detach=False, **F64)),
    "recurrent": lambda: network(spiking.recurrent(spiking.lif(HIDDEN, timing="immediate"), HIDDEN, **F64)),
    "adaptive": lambda: network(spiking.adaptive_lif(HIDDEN, learn=("adaptation",), **F64)),
    "delayed": lambda: network(spiking.lif(HIDDEN), head=spiking.delay(CLASSES, 4, **F64)),
    "carried": lambda: network(spiking.lif(HIDDEN, timing="carried", detach=False)),
    "izhikevich": lambda: network(
        spiking.lif(HIDDEN), head=spiking.izhikevich(CLASSES, surrogate=spiking.Surrogate("arctan", scale=0.01))
    ),
    "deep": lambda: network(spiking.lif(HIDDEN), spiking.adaptive_lif(HIDDEN), head=spiking.leaky_integrator(CLASSES)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_backpropagation_equals_the_oracle(name, x64):
    objective, params, batch = problem(NETWORKS[name]())
    value, metrics, wanted = gradient(spiking.rtrl, objective, params, batch)
    got = gradient(spiking.bptt, objective, params, batch)
    assert some(wanted) or name == "izhikevich"
    assert_same(got[2], wanted)
    np.testing.assert_allclose(got[0], value, rtol=1e-12)
    assert set(got[1]) == set(metrics)


@pytest.mark.parametrize("steps", [1, 4, 9])
@pytest.mark.parametrize("constant", [False, True], ids=["sequence", "constant"])
@pytest.mark.slow
def test_recomputing_changes_nothing(steps, constant, x64):
    readout, spikes = spiking.leaky_integrator(CLASSES), spiking.lif(CLASSES)
    for loss, head in (
        (spiking.max_membrane(), readout),
        (spiking.first_spike_time(), spikes),
        (spiking.step_cross_entropy(), readout),
    ):
        objective, params, batch = problem(network(spiking.lif(HIDDEN), head=head), loss, constant=constant)
        want = gradient(spiking.bptt, objective, params, batch)
        got = gradient(spiking.checkpointed(steps=steps), objective, params, batch)
        assert_same(got[2], want[2])
        for name, metric in want[1].items():
            np.testing.assert_allclose(got[1][name], metric)


@pytest.mark.slow
def test_checkpointing_with_a_remainder_equals_backpropagation(x64):
    objective, params, batch = problem(network(spiking.lif(HIDDEN), head=spiking.leaky_integrator(CLASSES)))
    want = gradient(spiking.bptt, objective, params, batch)
    assert_same(gradient(spiking.checkpointed(steps=4), objective, params, batch)[2], want[2])


@pytest.mark.slow
def test_truncation_cuts_the_state_at_every_chunk(x64):
    """Against single steps whose state is a constant wherever a chunk begins."""
    objective, params, batch = problem(network(spiking.lif(HIDDEN), head=spiking.leaky_integrator(CLASSES)))

    def stepwise(params, batch, key):
        state, total = objective.network.rest(params, batch["x"][0]), jnp.zeros((BATCH, CLASSES))
        for step, x in enumerate(batch["x"]):
            state = jax.lax.stop_gradient(state) if step % 4 == 0 else state
            state, outputs = objective.network.step(params, state, x)
            total = total + outputs["head"]
        return objective.loss.finish(total, STEPS, batch["y"])[0], {}

    want = gradient(spiking.bptt, stepwise, params, batch)[2]
    assert_same(gradient(spiking.truncated(4), objective, params, batch)[2], want)
    full = gradient(spiking.bptt, objective, params, batch)[2]
    assert not np.allclose(want["dense0"]["weight"], full["dense0"]["weight"])


@pytest.mark.parametrize("loss", ["count_cross_entropy", "step_cross_entropy", "rate_mean_square"])
@pytest.mark.parametrize("neuron", ["lif", "current_lif", "none"])
@pytest.mark.slow
def test_the_online_trace_is_exact_for_one_layer(neuron, loss, x64):
    layer = {
        "lif": lambda: spiking.lif(HIDDEN, timing="immediate"),
        "current_lif": lambda: spiking.current_lif(HIDDEN),
        "none": lambda: spiking.lif(HIDDEN, reset="none"),
    }[neuron]()
    objective, params, batch = problem(network(layer), spiking.losses[loss]())
    value, metrics, wanted = gradient(spiking.rtrl, objective, params, batch)
    got = gradient(spiking.online_trace, objective, params, batch)
    assert some(wanted)
    assert_same(got[2], wanted)
    np.testing.assert_allclose(got[0], value, rtol=1e-12)
    for name, metric in metrics.items():
        np.testing.assert_allclose(got[1][name], metric)


@pytest.mark.slow
def test_online_rules_take_a_constant_input(x64):
    objective, params, batch = problem(network(spiking.lif(HIDDEN)), constant=True)
    want = gradient(spiking.rtrl, objective, params, batch)[2]
    for rule in (spiking.online_trace, spiking.eprop):
        assert_same(gradient(rule, objective, params, batch)[2], want)


@pytest.mark.parametrize(
    "neuron",
    [
        pytest.param(lambda: spiking.current_lif(HIDDEN, learn=EVERY, spread=0.2, reset="zero", **F64), id="learnt"),
        pytest.param(
            lambda: spiking.adaptive_lif(HIDDEN, detach=False, learn=("adaptation", "decay"), **F64),
            id="adaptive",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_eprop_is_exact_below_a_leaky_readout(neuron, x64):
    """The readout's decay filters the eligibilities; learnt constants have eligibilities too."""
    net = network(neuron(), head=spiking.leaky_integrator(CLASSES, decay=0.7, normalize=True))
    objective, params, batch = problem(net, spiking.mean_cross_entropy(3.0))
    wanted = gradient(spiking.rtrl, objective, params, batch)[2]
    assert some(wanted)
    assert_same(gradient(spiking.eprop, objective, params, batch)[2], wanted)


@pytest.mark.slow
def test_recurrent_eprop_is_exact_up_to_the_paths_through_other_neurons(x64):
    """The oracle is the same network whose recurrent spikes are constants; the true gradient differs."""
    inner = spiking.adaptive_lif(HIDDEN)
    layer = spiking.recurrent(inner, HIDDEN, **F64)

    def cut(params, state, current):
        spike = jax.lax.stop_gradient(state["spike"])
        return layer.step(params, {**state, "spike": spike}, current)

    net = network(layer, head=spiking.leaky_integrator(CLASSES))
    cut_net = network(layer._replace(step=cut, unroll=None), head=spiking.leaky_integrator(CLASSES))
    objective, params, batch = problem(net)
    wanted = gradient(spiking.rtrl, problem(cut_net)[0], params, batch)[2]
    got = gradient(spiking.eprop, objective, params, batch)[2]
    assert some(wanted)
    assert_same(got, wanted)
    true = gradient(spiking.bptt, objective, params, batch)[2]
    assert not np.allclose(true["neuron0"]["weight"], got["neuron0"]["weight"])


@pytest.mark.slow
def test_ottt_is_exact_for_the_last_layer_and_instantaneous_below(x64):
    """Below, the oracle is the network whose upper neurons forget: their state before the step is a constant."""
    first, second = spiking.lif(HIDDEN), spiking.lif(HIDDEN, decay=0.7)
    objective, params, batch = problem(network(first, second))
    got = gradient(spiking.ottt, objective, params, batch)[2]
    true = gradient(spiking.rtrl, objective, params, batch)[2]
    assert some(true)
    for name in ("dense1", "out"):
        assert_same(got[name], true[name])

    def forget(params, state, current):
        return second.step(params, jax.lax.stop_gradient(state), current)

    cut = network(first, second._replace(step=forget, unroll=None))
    wanted = gradient(spiking.rtrl, problem(cut)[0], params, batch)[2]
    assert_same(got["dense0"], wanted["dense0"])
    assert not np.allclose(true["dense0"]["weight"], got["dense0"]["weight"])


@pytest.mark.slow
def test_a_penalty_on_rates_is_part_of_the_objective(x64):
    objective, params, batch = problem(network(spiking.lif(HIDDEN)))
    bounded = spiking.Objective(objective.network, objective.loss, penalty=spiking.rate_bounds(0.9, 1.0, strength=5.0))
    plain, with_penalty = (gradient(spiking.bptt, o, params, batch) for o in (objective, bounded))
    rate = plain[1]["rate/neuron0"]
    assert with_penalty[0] > plain[0]
    assert rate < 0.9
    stepped = jax.tree.map(lambda p, g: p - 0.5 * g, params, with_penalty[2])
    assert gradient(spiking.bptt, objective, stepped, batch)[1]["rate/neuron0"] > rate
    with pytest.raises(UsageError, match="penalty"):
        spiking.eprop(bounded)(params, batch, jax.random.key(0))


def test_rules_refuse_what_they_are_not_exact_for(x64):
    def attempt(rule, net, loss=None):
        objective, params, batch = problem(net, loss)
        rule(objective)(params, batch, jax.random.key(0))

    two = network(spiking.lif(HIDDEN), spiking.lif(HIDDEN))
    with pytest.raises(UsageError, match="one layer with state, got 2"):
        attempt(spiking.online_trace, two)
    with pytest.raises(UsageError, match="sum over time"):
        attempt(spiking.ottt, two, spiking.max_membrane())
    with pytest.raises(UsageError, match="reset='zero'"):
        attempt(spiking.ottt, network(spiking.lif(HIDDEN, reset="zero")))
    with pytest.raises(UsageError, match="adaptive_lif"):
        attempt(spiking.ottt, network(spiking.adaptive_lif(HIDDEN)))
    with pytest.raises(UsageError, match="one fixed decay"):
        attempt(spiking.ottt, network(spiking.lif(HIDDEN, learn=("decay",), **F64)))
    head = spiking.leaky_integrator(CLASSES, learn=("decay",), **F64)
    with pytest.raises(UsageError, match="leaky_integrator with one fixed decay"):
        attempt(spiking.eprop, network(spiking.lif(HIDDEN), head=head))
    for rule in (spiking.eprop, spiking.ottt, spiking.rtrl, spiking.truncated(2), spiking.checkpointed()):
        with pytest.raises(UsageError, match=r"spiking\.Objective"):
            rule(lambda params, batch, key: (0.0, {}))


def test_the_memory_budget_picks_the_chunk():
    net = spiking.Network({"dense": nn.dense(512, 512), "lif": spiking.lif(512)})
    objective = spiking.Objective(net, spiking.total_output())
    params = jax.eval_shape(net.init, jax.random.key(0))
    xs = jax.ShapeDtypeStruct((2500, 16, 512), jnp.float32)
    assert spiking.chunk_length(objective, params, xs, None) == 50
    assert spiking.chunk_length(objective, params, xs, 1e6) == 2500
    short = spiking.chunk_length(objective, params, xs, 10.0)
    assert 1 < short < spiking.chunk_length(objective, params, xs, 40.0) < 2500
    with pytest.raises(UsageError, match=r"memory of 0\.5 MiB is too little for 2500 steps"):
        spiking.chunk_length(objective, params, xs, 0.5)
    with pytest.raises(UsageError, match="not both"):
        spiking.checkpointed(1.0, steps=3)
    with pytest.raises(UsageError, match="at least 1"):
        spiking.truncated(0)
