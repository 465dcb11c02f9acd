from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import spiking
from chainlab.errors import UsageError

STEPS, BATCH, SIZE = 12, 2, 3
MODES = [
    (reset, timing, detach)
    for reset, timing, detach in product(("subtract", "zero", "none"), ("delayed", "immediate"), (True, False))
    if reset != "none" or (timing, detach) == ("delayed", True)
]


def neurons(adjoint):
    for reset, timing, detach in MODES:
        mode = {"reset": reset, "timing": timing, "detach": detach, "adjoint": adjoint}
        yield f"lif-{reset}-{timing}-{detach}", spiking.lif(SIZE, decay=0.8, **mode)
    yield "lif-each", spiking.lif(SIZE, decay=np.array([0.6, 0.8, 0.9]), threshold=0.3, normalize=True, adjoint=adjoint)
    learn = ("decay", "threshold")
    yield "lif-learnt", spiking.lif(SIZE, learn=learn, spread=0.3, adjoint=adjoint, dtype=jnp.float64)
    yield "if", spiking.integrate_and_fire(SIZE, learn=("threshold",), adjoint=adjoint, dtype=jnp.float64)
    yield "current_lif", spiking.current_lif(SIZE, detach=False, normalize=True, adjoint=adjoint)
    every = ("decay", "synaptic_decay", "threshold")
    current = spiking.current_lif(
        SIZE, learn=every, spread=0.3, reset="zero", normalize=True, decay=0.6, adjoint=adjoint, dtype=jnp.float64
    )
    yield "current_lif-learnt", current
    yield "recurrent-lif", spiking.recurrent(spiking.lif(SIZE, adjoint=adjoint), SIZE, dtype=jnp.float64)
    yield "recurrent-current_lif", spiking.recurrent(current, SIZE, dtype=jnp.float64)


FAST = {"lif-subtract-delayed-True", "lif-zero-immediate-False", "recurrent-current_lif"}
NAMES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name, _ in neurons(True)]


@pytest.mark.parametrize("constant", [False, True], ids=["sequence", "constant"])
@pytest.mark.parametrize("name", NAMES)
def test_the_hand_derived_adjoint_equals_autodiff(name, constant, key, x64):
    """Outputs, final state and every gradient, with a loss on spikes and on the final state."""
    keys = jax.random.split(key, 4)
    shape = (BATCH, SIZE) if constant else (STEPS, BATCH, SIZE)
    currents = 0.6 * jax.random.normal(keys[0], shape, jnp.float64) + 0.35
    weight = jax.random.normal(keys[1], (STEPS, BATCH, SIZE), jnp.float64)
    fast, slow = (dict(neurons(adjoint))[name] for adjoint in (True, False))
    assert fast.unroll is not None
    assert slow.unroll is None
    params = fast.init(keys[2])
    assert jax.tree.structure(params) == jax.tree.structure(slow.init(keys[2]))
    start = fast.rest(params, currents if constant else currents[0])
    start = jax.tree.map(lambda x: x + 0.2 * jax.random.normal(keys[3], x.shape, x.dtype), start)

    def loss(run, neuron):
        def value(params, start, currents):
            xs = spiking.Constant(currents, STEPS) if constant else currents
            state, spikes = run(neuron)(params, start, xs)
            tail = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(state))
            return jnp.sum(weight * spikes) + tail, spikes

        return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))

    slow_start = start
    if "recurrent" in name:  # the wrapper of any neuron keeps its state apart
        slow_start = {"neuron": {k: x for k, x in start.items() if k != "spike"}, "spike": start["spike"]}
    (fast_value, fast_spikes), fast_gradients = loss(lambda n: n.unroll, fast)(params, start, currents)
    (slow_value, slow_spikes), slow_gradients = loss(lambda n: lambda *arguments: spiking.scan(n, *arguments), slow)(
        params, slow_start, currents
    )
    assert 0 < float(jnp.mean(fast_spikes)) < 1
    np.testing.assert_array_equal(fast_spikes, slow_spikes)
    np.testing.assert_allclose(fast_value, slow_value, rtol=1e-12)
    if "recurrent" in name:
        of_params, of_start, of_currents = slow_gradients
        slow_gradients = of_params, {**of_start["neuron"], "spike": of_start["spike"]}, of_currents
    leaves = zip(jax.tree.leaves(fast_gradients), jax.tree.leaves(slow_gradients), strict=True)
    for got, want in leaves:
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_float64_stays_float64_and_float32_float32(key):
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            for name, neuron in neurons(True):
                if "learnt" in name or "recurrent" in name or name == "if":
                    continue
                currents = jnp.ones((3, 2, SIZE), dtype)
                state, spikes = neuron.unroll({}, neuron.rest({}, currents[0]), currents)
                assert {leaf.dtype for leaf in jax.tree.leaves((state, spikes))} == {jnp.dtype(dtype)}, name


def test_a_learnt_decay_starts_where_it_was_given():
    values = spiking.Values(2, {"decay": 0.9}, ("decay",))
    read = values.read(values.init(jax.random.key(0)), jnp.zeros((5, 2)))["decay"]
    np.testing.assert_allclose(read, np.full((1, 2), 0.9), rtol=1e-6)


@pytest.mark.slow
def test_the_carried_reset_differs_from_the_immediate_one_only_above_twice_the_threshold():
    immediate, carried = (spiking.lif(1, decay=0.9, timing=timing) for timing in ("immediate", "carried"))
    run = lambda neuron, xs: spiking.scan(neuron, {}, neuron.rest({}, xs[0]), xs)[1][:, 0].tolist()  # noqa: E731
    small, large = jnp.full((6, 1), 0.7), jnp.array([[2.5], [0.0], [0.0]])
    assert run(immediate, small) == run(carried, small)
    assert run(immediate, large) == [1.0, 1.0, 0.0]
    assert run(carried, large) == [1.0, 0.0, 0.0]


def test_any_step_is_a_neuron(key):
    """A user-written neuron in a network: a spike every third step."""

    def step(params, state, current):
        count = state + 1
        return count, jnp.where(count % 3 == 0, jnp.ones_like(current), 0 * current)

    neuron = spiking.Neuron(lambda key: {}, lambda params, current: jnp.zeros(current.shape, jnp.int32), step)
    net = spiking.Network({"clock": neuron})
    assert net.apply(net.init(key), jnp.ones((6, 1, 1)))[:, 0, 0].tolist() == [0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spiking.decay(-1.0), "tau must be a positive time"),
        (lambda: spiking.decay(1.0, 0.0), "dt must be a positive time"),
        (lambda: spiking.lif(3, decay=1.2), r"decay must be in \(0, 1\]"),
        (lambda: spiking.current_lif(3, synaptic_decay=-0.1), "synaptic_decay"),
        (lambda: spiking.lif(3, decay=np.full(4, 0.9)), r"decay .* shape \(3,\)"),
        (lambda: spiking.lif(3, threshold=-1.0), "threshold must be positive"),
        (lambda: spiking.lif(3, threshold=float("nan")), "threshold must be finite"),
        (lambda: spiking.lif(3, learn=("tau",)), "no constant 'tau'"),
        (lambda: spiking.lif(3, reset="soft"), "reset must be"),
        (lambda: spiking.lif(3, timing="now"), "timing must be"),
        (lambda: spiking.integrate_and_fire(3, learn=("decay",)), "no decay to learn"),
        (lambda: spiking.lif(0), "at least one neuron"),
        (lambda: spiking.Network({}), "at least one layer"),
    ],
)
def test_bad_constants_name_the_field(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_bad_sequences_say_what_was_wanted(key):
    net = spiking.Network({"lif": spiking.lif(3)})
    with pytest.raises(UsageError, match="at least one step, got 0"):
        net.apply({"lif": {}}, jnp.zeros((0, 2, 3)))
    with pytest.raises(UsageError, match=r"3 features .* \(2, 4\)"):
        net.apply({"lif": {}}, jnp.zeros((5, 2, 4)))
    with pytest.raises(UsageError, match="time"):
        net.apply({"lif": {}}, jnp.zeros(3))
