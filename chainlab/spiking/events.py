r"""Spiking neurons in continuous time, event by event, with exact gradients (EventProp).

Between events $\dot V = -V / \tau_m + I$ and $\dot I = -I / \tau_s$ are solved in closed form. A presynaptic spike
adds its weights to $I$; when $V_n$ reaches $\vartheta$ neuron $n$ fires, $V_n$ returns to zero and its recurrent
weights are added to $I$. Spike times are found to machine precision, and are differentiable in the parameters
wherever no spike is about to appear or vanish.

Backwards, the adjoint of the state follows the same closed form, and jumps at events. With $a_V, a_I$ the adjoints
just after a spike of neuron $n$ at time $t$, whose time has the cotangent $\bar t$,

$$c = \bar t - a_{V_n} \dot V_n^+ + \sum_j R_{nj} \left( \frac{a_{I_j}}{\tau_s} - [j \ne n]\, a_{V_j} \right), \qquad
  a_{V_n}^- = -\frac{c}{\dot V_n^-},$$

everything else passing through. Only the events themselves, and the current of the neuron that fires, are stored.

References:
    Wunderlich and Pehle, EventProp, Scientific Reports 11, 12829, 2021 (arXiv:2009.08378), equations 3 to 5 and
    table 1.
"""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.spiking.rasters import Spikes

_NEWTON_STEPS = 50


class Constants(NamedTuple):
    """What an event layer does not differentiate: time constants, horizon and room for spikes."""

    tau_mem: float
    tau_syn: float
    horizon: float
    most: int


class _Tape(NamedTuple):
    """One event: its time, what fired (input, neuron or nothing), and the current of a neuron that fired."""

    time: Array
    source: Array
    neuron: Array
    current: Array


def event_lif(
    weight: Float[Array, "inputs size"],
    spikes: Spikes,
    *,
    recurrent: Float[Array, "size size"] | None = None,
    threshold: float | Float[Array, ""] = 1.0,
    tau_mem: float = 20.0,
    tau_syn: float = 10.0,
    horizon: float = 100.0,
    most: int = 64,
) -> Spikes:
    """Run a layer of current-based LIF neurons in continuous time; `jax.vmap` adds a batch.

    Args:
        weight: What a spike of each input adds to each current.
        spikes: Input spikes, sorted by time.
        recurrent: What a spike of each neuron adds to each current.
        threshold: Threshold of all neurons.
        tau_mem: Membrane time constant; infinite without a leak.
        tau_syn: Synaptic time constant, in the same unit.
        horizon: End of the simulation.
        most: Room for output spikes of the whole layer; `Spikes.complete` says whether it was enough.

    Returns:
        The output spikes. Their times are differentiable with respect to `weight`, `recurrent`, `threshold` and
        the times of the input spikes.

    Raises:
        UsageError: A constant is not positive; names it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> once = Spikes(jnp.array([1.0]), jnp.array([0]))
        >>> first = lambda w: event_lif(w, once, tau_mem=20.0, tau_syn=10.0).times[0]
        >>> slope = jax.grad(first)(jnp.array([[0.5]]))
        >>> bool(slope[0, 0] < 0)  # a larger weight makes the neuron fire sooner
        True
    """
    for name, value in (("tau_mem", tau_mem), ("tau_syn", tau_syn), ("horizon", horizon), ("most", most)):
        if not value > 0:
            raise UsageError(f"{name} must be positive, got {value}")
    constants = Constants(float(tau_mem), float(tau_syn), float(horizon), int(most))
    size = weight.shape[1]
    if recurrent is None:
        recurrent = jnp.zeros((size, size), weight.dtype)
    limit = jnp.asarray(threshold, weight.dtype)
    found = _run(constants, weight, recurrent, limit, spikes.times, spikes.neurons)
    return Spikes(*cast("tuple[Array, Array, Array]", found))


def kernel(constants: Constants, s: Array) -> Array:
    """How much of a unit of current has arrived on the membrane after a time `s`."""
    rate = abs(1 / constants.tau_syn - 1 / constants.tau_mem)
    slower = jnp.exp(-s / max(constants.tau_syn, constants.tau_mem))
    if rate == 0:
        return s * slower
    return slower * -jnp.expm1(-s * rate) / rate  # no exponent is positive: a long wait does not overflow


def _flow(constants: Constants, v: Array, current: Array, s: Array) -> tuple[Array, Array]:
    after = v * jnp.exp(-s / constants.tau_mem) + current * kernel(constants, s)
    return after, current * jnp.exp(-s / constants.tau_syn)


def _crossing(constants: Constants, threshold: Array, v: Array, current: Array) -> Array:
    """Time until each neuron reaches the threshold, infinite where it never does.

    While it rises towards a positive threshold the potential is concave, so that Newton's method from the left
    converges without ever passing the crossing.
    """
    tau_mem, tau_syn = constants.tau_mem, constants.tau_syn
    rate = 1 / tau_syn - 1 / tau_mem
    rising = current > v / tau_mem
    safe = jnp.where(rising, current, 1.0)
    safe_v = jnp.where(rising, v, 0.0)
    if rate == 0:
        summit = tau_mem - safe_v / safe
    else:
        ratio = safe * tau_mem / (tau_syn * (rate * safe_v + safe))
        summit = jnp.log(jnp.maximum(ratio, 1e-30)) / rate
    summit = jnp.minimum(summit, constants.horizon)  # without a leak it rises for ever
    reaches = rising & (safe > 0) & (_flow(constants, safe_v, safe, summit)[0] > threshold)
    safe, safe_v = jnp.where(reaches, safe, threshold + 1.0), jnp.where(reaches, safe_v, 0.0)

    def newton(_: Any, s: Array) -> Array:
        at, i = _flow(constants, safe_v, safe, s)
        slope = i - at / tau_mem
        return jnp.where(reaches, s + (threshold - at) / jnp.where(reaches, slope, 1.0), 0.0)

    s = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, jnp.zeros_like(v))
    return jnp.where(reaches, jnp.maximum(s, 0.0), jnp.inf)


def _simulate(
    constants: Constants, weight: Array, recurrent: Array, threshold: Array, times: Array, sources: Array
) -> tuple[tuple[Array, Array, Array], _Tape]:
    inputs, size = weight.shape
    horizon = jnp.asarray(constants.horizon, weight.dtype)
    no_input = jnp.zeros((1, size), weight.dtype)
    padded_weight = jnp.concatenate([weight, no_input])
    padded_times = jnp.append(times.astype(weight.dtype), jnp.asarray(jnp.inf, weight.dtype))
    padded_sources = jnp.append(sources.astype(jnp.int32), jnp.int32(inputs))

    def body(carry: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], _Tape]:
        v, current, now, read, written = carry
        wait = _crossing(constants, threshold, v, current)
        neuron = jnp.argmin(wait).astype(jnp.int32)
        at_spike, at_input = now + wait[neuron], padded_times[read]
        fires = (at_spike <= at_input) & (at_spike < horizon) & (written < constants.most)
        arrives = ~fires & (at_input < horizon)
        time = jnp.where(fires, at_spike, jnp.where(arrives, at_input, now))
        v, current = _flow(constants, v, current, time - now)
        tape = _Tape(
            time,
            jnp.where(arrives, padded_sources[read], inputs),
            jnp.where(fires, neuron, size).astype(jnp.int32),
            current[neuron],
        )
        v = jnp.where((index == neuron) & fires, 0.0, v)
        current = current + jnp.where(arrives, 1.0, 0.0) * padded_weight[tape.source]
        current = current + jnp.where(fires, 1.0, 0.0) * recurrent[neuron]
        return (v, current, time, read + arrives.astype(jnp.int32), written + fires.astype(jnp.int32)), tape

    index = jnp.arange(size, dtype=jnp.int32)
    start = (
        jnp.zeros(size, weight.dtype),
        jnp.zeros(size, weight.dtype),
        jnp.zeros((), weight.dtype),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
    )
    length = times.shape[0] + constants.most
    (v, current, now, read, _), tape = jax.lax.scan(body, start, None, length=length)
    fired = tape.neuron < size
    slot = jnp.where(fired, _rank(fired), constants.most)
    out_times = jnp.full(constants.most, jnp.inf, weight.dtype).at[slot].set(tape.time, mode="drop")
    out_neurons = jnp.full(constants.most, size, jnp.int32).at[slot].set(tape.neuron, mode="drop")
    more = now + jnp.min(_crossing(constants, threshold, v, current)) < horizon
    complete = ~more & (padded_times[read] >= horizon)
    return (out_times, out_neurons, complete), tape


def _rank(chosen: Array) -> Array:
    """The place of each chosen entry among the chosen ones."""
    return jnp.cumsum(chosen.astype(jnp.int32), dtype=jnp.int32) - 1


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(
    constants: Constants, weight: Array, recurrent: Array, threshold: Array, times: Array, sources: Array
) -> tuple[Array, Array, Array]:
    return _simulate(constants, weight, recurrent, threshold, times, sources)[0]


def _run_forward(constants: Constants, *arguments: Array) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    result, tape = _simulate(constants, *arguments)
    return result, (*arguments, tape)


def _run_backward(constants: Constants, residuals: tuple[Any, ...], cotangents: tuple[Any, ...]) -> tuple[Any, ...]:
    weight, recurrent, threshold, times, _, tape = residuals
    tau_mem, tau_syn = constants.tau_mem, constants.tau_syn
    inputs, size = weight.shape
    rows = jnp.concatenate([weight, jnp.zeros((1, size), weight.dtype)])
    recurrent_rows = jnp.concatenate([recurrent, jnp.zeros((1, size), recurrent.dtype)])
    fired, arrived = tape.neuron < size, tape.source < inputs
    slot = jnp.where(fired, _rank(fired), 0)
    time_cotangent = jnp.where(fired, cotangents[0][slot], 0.0)
    before = jnp.concatenate([jnp.zeros((1,), tape.time.dtype), tape.time[:-1]])

    def body(carry: tuple[Array, Array], event: tuple[Any, ...]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        """Pull the adjoints back over one event, and over the flow that led to it."""
        a_v, a_i = carry
        time, source, neuron, current, time_bar, previous = event
        fires, own = neuron < size, jnp.arange(size, dtype=jnp.int32) == neuron
        row = recurrent_rows[neuron]
        # the shift of the event's own time moves what comes after it
        shift = jnp.sum(row * (a_i / tau_syn - jnp.where(own, 0.0, a_v)))
        slope_before = jnp.where(fires, current - threshold / tau_mem, 1.0)
        slope_after = current + jnp.sum(jnp.where(own, row, 0.0))
        c = jnp.where(fires, time_bar - jnp.sum(jnp.where(own, a_v, 0.0)) * slope_after + shift, 0.0)
        from_input = jnp.sum(rows[source] * (a_i / tau_syn - a_v))
        jump = a_i
        a_v = jnp.where(own & fires, -c / slope_before, a_v)
        s = time - previous
        pulled = a_v * jnp.exp(-s / tau_mem), a_v * kernel(constants, s) + a_i * jnp.exp(-s / tau_syn)
        return pulled, (jump, c / slope_before, from_input)

    zeros = jnp.zeros(size, weight.dtype)
    events = (*tape, time_cotangent, before)
    _, (jumps, of_threshold, of_input) = jax.lax.scan(body, (zeros, zeros), events, reverse=True)
    weight_bar = jnp.zeros_like(rows).at[tape.source].add(jumps)[:inputs]
    recurrent_bar = jnp.zeros_like(recurrent_rows).at[tape.neuron].add(jumps)[:size]
    threshold_bar = jnp.sum(jnp.where(fired, of_threshold, 0.0))
    order = jnp.where(arrived, _rank(arrived), times.shape[0])
    times_bar = jnp.zeros_like(times).at[order].add(of_input.astype(times.dtype), mode="drop")
    return weight_bar, recurrent_bar, threshold_bar, times_bar, np.zeros(times.shape, jax.dtypes.float0)


_run.defvjp(_run_forward, _run_backward)
