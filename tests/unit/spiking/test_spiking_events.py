"""Event-based neurons: spike times against an ODE solver, gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from chainlab import nn, spiking
from chainlab.errors import UsageError

INPUTS, SIZE, MOST, HORIZON = 3, 3, 40, 40.0
TIMES = [0.5, 2.0, 3.1, 5.0, 8.3, 9.9, 14.0, 21.0]
SOURCES = [0, 1, 2, 0, 1, 2, 1, 0]


def layer(taus=(20.0, 5.0), seed=3):
    keys = jax.random.split(jax.random.key(seed), 2)
    weight = 0.35 + 0.2 * jax.random.normal(keys[0], (INPUTS, SIZE), jnp.float64)
    recurrent = 0.1 * jax.random.normal(keys[1], (SIZE, SIZE), jnp.float64)
    arguments = {"weight": weight, "recurrent": recurrent, "threshold": jnp.array(1.0), "times": jnp.array(TIMES)}

    def run(weight, recurrent, threshold, times):
        spikes = spiking.Spikes(times, jnp.array(SOURCES))
        options = {"tau_mem": taus[0], "tau_syn": taus[1], "horizon": HORIZON, "most": MOST}
        return spiking.event_lif(weight, spikes, recurrent=recurrent, threshold=threshold, **options)

    return run, arguments


@pytest.mark.slow
@pytest.mark.parametrize("taus", [(20.0, 5.0), (8.0, 8.0), (4.0, 9.0)], ids=["usual", "equal", "slow-synapse"])
def test_gradients_of_every_spike_time_equal_finite_differences(taus, x64):
    """With respect to weights, recurrent weights, threshold and input times, several spikes a neuron."""
    run, arguments = layer(taus)
    spikes = jax.jit(run)(**arguments)
    count = int(jnp.sum(jnp.isfinite(spikes.times)))
    assert bool(spikes.complete)
    assert count > SIZE
    assert max(np.bincount(spikes.neurons[:count])) >= 2
    weighting = jnp.linspace(-1.0, 1.5, count)

    @jax.jit
    def loss(arguments):
        return jnp.sum(weighting * run(**arguments).times[:count])

    gradient = jax.grad(loss)(arguments)
    step = 1e-6
    for name, value in arguments.items():
        assert gradient[name].dtype == jnp.float64
        for index in np.ndindex(value.shape):
            nudge = jnp.zeros_like(value).at[index].set(step)
            up, down = (loss({**arguments, name: value + sign * nudge}) for sign in (1, -1))
            want = (up - down) / (2 * step)
            scale = max(1.0, abs(float(want)))
            assert abs(float(gradient[name][index] - want)) <= 1e-6 * scale, (name, index)


@pytest.mark.slow
def test_spike_times_equal_those_of_an_ode_solver(x64):
    run, arguments = layer()
    spikes = run(**arguments)
    weight, recurrent = np.asarray(arguments["weight"]), np.asarray(arguments["recurrent"])
    state, now, found, inputs = np.zeros(2 * SIZE), 0.0, [], list(zip(TIMES, SOURCES, strict=True))

    def flow(t, y):
        return np.concatenate([-y[:SIZE] / 20.0 + y[SIZE:], -y[SIZE:] / 5.0])

    events = []
    for neuron in range(SIZE):
        event = lambda t, y, neuron=neuron: y[neuron] - 1.0  # noqa: E731
        event.terminal, event.direction = True, 1
        events.append(event)
    while now < HORIZON:
        stop = inputs[0][0] if inputs else HORIZON
        solved = solve_ivp(flow, (now, stop), state, events=events, rtol=1e-10, atol=1e-12)
        now, state = solved.t[-1], solved.y[:, -1].copy()
        if solved.status == 1:
            (neuron,) = (n for n in range(SIZE) if len(solved.t_events[n]))
            found.append((now, neuron))
            state[neuron] = 0.0
            state[SIZE:] += recurrent[neuron]
        elif inputs:
            state[SIZE:] += weight[inputs.pop(0)[1]]
    count = len(found)
    assert count > 3
    np.testing.assert_allclose(spikes.times[:count], [time for time, _ in found], rtol=1e-7)
    assert spikes.neurons[:count].tolist() == [neuron for _, neuron in found]
    assert not np.isfinite(spikes.times[count:]).any()


def network(tau, dtype, recurrent=False):
    """A net whose time constants are `tau` steps; its weights shrink as steps get shorter."""
    small = {"decay": spiking.decay(2 * tau), "synaptic_decay": spiking.decay(tau)}
    hidden = spiking.current_lif(4, surrogate=spiking.Surrogate("fast_sigmoid", scale=5.0), **small)
    layers = {
        "in": nn.dense(3, 4, bias=False, dtype=dtype),
        "hidden": spiking.recurrent(hidden, 4, dtype=dtype) if recurrent else hidden,
        "out": nn.dense(4, 2, bias=False, dtype=dtype),
        "readout": spiking.leaky_integrator(2, decay=spiking.decay(2 * tau)),
    }
    return spiking.Network(layers)


def timing_problem(tau, seed=0):
    """Spikes at the same times in units of `tau`, whatever the length of a step."""
    rng = np.random.default_rng(seed)
    steps, when = int(5 * tau), (rng.uniform(0.0, 2.5, (2, 3, 2)) * tau).astype(int)
    raster = np.zeros((steps, 2, 3))
    for example, source, spike in np.ndindex(2, 3, 2):
        raster[when[example, source, spike], example, source] = 1.0
    net = network(tau, jnp.float64)
    params = net.init(jax.random.key(1))
    params["in"]["weight"] = (0.7 + 0.4 * params["in"]["weight"]) / tau
    params["out"]["weight"] = params["out"]["weight"] / tau
    objective = spiking.Objective(net, spiking.mean_cross_entropy(20.0))
    return objective, params, {"x": jnp.asarray(raster), "y": jnp.array([0, 1])}


@pytest.mark.slow
def test_the_rule_is_the_derivative_of_the_continuous_network(x64):
    objective, params, batch = timing_problem(20)
    key = jax.random.key(0)
    run = jax.jit(spiking.eventprop(most=24)(objective))
    (_, metrics), gradient = run(params, batch, key)
    assert float(metrics["complete"]) == 1.0
    assert 0 < float(metrics["rate/hidden"]) < 1
    for name in ("in", "out"):
        weight, step = params[name]["weight"], 1e-6
        for index in [(0, 0), (2, 1), (1, 0)]:
            nudge = jnp.zeros_like(weight).at[index].set(step)
            up, down = (run({**params, name: {"weight": weight + sign * nudge}}, batch, key)[0][0] for sign in (1, -1))
            want = float(up - down) / (2 * step)
            assert abs(float(gradient[name]["weight"][index]) - want) <= 1e-6 * max(1.0, abs(want))


@pytest.mark.slow
def test_the_discrete_network_tends_to_the_continuous_one(x64):
    """The loss of the discrete network approaches the event-based one as its steps get shorter."""
    errors = []
    for tau in (10, 40, 160):
        objective, params, batch = timing_problem(tau)
        exact = spiking.eventprop(most=24)(objective)(params, batch, jax.random.key(0))[0][0]
        errors.append(abs(float(objective(params, batch, jax.random.key(0))[0] - exact)))
    assert errors[2] < errors[0] / 4
    assert errors[2] < 2e-2


@pytest.mark.slow
def test_from_raster_and_back(x64):
    raster = jnp.zeros((4, 3)).at[jnp.array([0, 2, 2]), jnp.array([1, 0, 2])].set(1.0)
    spikes = spiking.from_raster(raster, most=4)
    assert spikes.times.tolist() == [0.0, 2.0, 2.0, np.inf]
    assert spikes.neurons.tolist() == [1, 0, 2, 3]
    assert bool(spikes.complete)
    assert not bool(spiking.from_raster(raster, most=2).complete)


def test_a_long_wait_leaves_the_next_spike_where_it_is():
    """In 200 time constants exp(s / tau_syn) overflows float32; the state must only decay."""

    def run(times, weight):
        spikes = spiking.Spikes(jnp.asarray(times), jnp.array([0, 1]))
        return spiking.event_lif(weight, spikes, tau_mem=20.0, tau_syn=1.0, horizon=300.0, most=2).times[0]

    weight = jnp.array([[0.3], [3.0]])
    late, slope = jax.jit(jax.value_and_grad(run, 1))(jnp.array([1.0, 200.0]), weight)
    soon = jax.jit(run)(jnp.array([1.0, jnp.inf]), weight[::-1])
    np.testing.assert_allclose(late - 200.0, soon - 1.0, atol=1e-3)
    assert slope[1, 0] < 0
    assert np.isfinite(slope).all()


def test_a_membrane_without_a_leak_fires_at_the_closed_form():
    spikes, tau = spiking.Spikes(jnp.array([1.0]), jnp.array([0])), 5.0
    found = jax.jit(lambda w: spiking.event_lif(w, spikes, tau_mem=np.inf, tau_syn=tau, horizon=50.0, most=1).times)
    # v(s) = w tau (1 - exp(-s / tau)) reaches 1
    np.testing.assert_allclose(found(jnp.array([[0.5]])), [1.0 - tau * np.log(1 - 1 / (0.5 * tau))], rtol=1e-5)
    assert np.isinf(found(jnp.array([[0.19]]))[0])


@pytest.mark.slow
def test_too_little_room_is_said(x64):
    arguments = layer()[1]
    spikes = spiking.event_lif(arguments["weight"], spiking.Spikes(arguments["times"], jnp.array(SOURCES)), most=2)
    assert int(jnp.sum(jnp.isfinite(spikes.times))) == 2
    assert not bool(spikes.complete)


def test_bad_event_layers_and_spikes_name_the_field(x64):
    arguments = layer()[1]
    spikes = spiking.Spikes(arguments["times"], jnp.array(SOURCES))
    for name in ("tau_mem", "tau_syn", "horizon"):
        with pytest.raises(UsageError, match=f"{name} must be positive, got -1"):
            spiking.event_lif(arguments["weight"], spikes, **{name: -1.0})
    with pytest.raises(UsageError, match=r"0 or 1, got 0\.5 at index \(1, 0\)"):
        spiking.from_raster(jnp.array([[0.0], [0.5]]))
    objective, params, batch = timing_problem(5)
    key = jax.random.key(0)
    with pytest.raises(UsageError, match="0 or 1"):
        spiking.eventprop()(objective)(params, {**batch, "x": 2 * batch["x"]}, key)
    biased = {**params, "in": {**params["in"], "bias": jnp.zeros(4)}}
    with pytest.raises(UsageError, match="'in' must have no bias"):
        spiking.eventprop()(objective)(biased, batch, key)
    head = {name: layer for name, layer in objective.network.layers.items() if name != "readout"}
    with pytest.raises(UsageError, match="'out' must be a leaky_integrator"):
        spiking.eventprop()(spiking.Objective(spiking.Network(head), objective.loss))(params, batch, key)
    only = {name: layer for name, layer in objective.network.layers.items() if name in ("out", "readout")}
    with pytest.raises(UsageError, match="at least one layer of spiking neurons"):
        spiking.eventprop()(spiking.Objective(spiking.Network(only), objective.loss))(
            params, {**batch, "x": jnp.zeros((3, 2, 4))}, key
        )
