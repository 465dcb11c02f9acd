"""EventProp as a gradient rule: a network read as its continuous-time counterpart."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainlab.autodiff.rules import backprop
from chainlab.errors import UsageError
from chainlab.spiking.blocks import Block, blocks_of
from chainlab.spiking.events import event_lif
from chainlab.spiking.objective import Objective, of_network
from chainlab.spiking.rasters import Spikes, check_spikes, from_raster
from chainlab.spiking.sequences import Constant, length, stepwise
from chainlab.typing import Batch, Gradient, Metrics, Params, PRNGKey, Rule


def eventprop(most: int = 256) -> Rule:
    r"""The exact gradient of the continuous-time network that a discrete one approximates.

    A step is one unit of time, a decay $\beta$ the time constant $-1 / \ln \beta$, and spikes happen when a
    potential reaches its threshold instead of at the next step. The shorter the steps against the time constants,
    the closer the two; their gradients can then be compared, which is what the surrogate's error is measured by.

    Args:
        most: Room for the spikes of a layer and example; the metric `complete` is the share of layers and
            examples for which it was enough, and the gradient is exact where it is 1.

    Returns:
        A rule for objectives of dense layers without biases and `current_lif` neurons (recurrent or not) in turn,
        read out by a `leaky_integrator`, with a loss of summed outputs. Inputs are spikes of 0 and 1.

    Raises:
        UsageError: The network, loss or input is not of that form; says what is not.

    References:
        Wunderlich and Pehle, EventProp, Scientific Reports 11, 12829, 2021 (arXiv:2009.08378), table 1.
    """
    if most < 1:
        raise UsageError(f"eventprop: most must be at least 1, got {most}")

    def rule(objective: Any) -> Gradient:
        spiking = of_network(objective, "eventprop")

        def continuous(params: Params, batch: Batch, key: PRNGKey) -> tuple[Array, Metrics]:
            return _continuous(spiking, most, params, batch, key)

        return backprop(continuous)

    return rule


def _continuous(objective: Objective, most: int, params: Params, batch: Batch, key: PRNGKey) -> tuple[Array, Metrics]:
    inputs, labels = objective.read(batch, key)
    xs = stepwise(inputs)
    if isinstance(xs, Constant):
        raise UsageError("eventprop: the input must be spikes, not a constant current")
    check_spikes(xs)
    steps = length(xs)
    blocks = blocks_of(objective, params, "eventprop")
    *hidden, readout = blocks
    _refuse(objective, params, blocks)
    taus = [_time_constants(block) for block in blocks]

    def example(raster: Array) -> tuple[Array, dict[str, Array], Array]:
        spikes, counts, complete = from_raster(raster), {}, []
        for block, constants in zip(hidden, taus, strict=False):
            assert block.neuron is not None
            weights = params[block.neuron]["weight"] if block.recurrent else None
            run = partial(event_lif, recurrent=weights, horizon=float(steps), most=most, **constants)
            spikes = run(params[block.weights]["weight"], spikes)
            counts[block.neuron] = jnp.sum(jnp.isfinite(spikes.times)).astype(raster.dtype)
            complete.append(spikes.complete)
        integral = _readout(params[readout.weights]["weight"], taus[-1]["tau_mem"], float(steps), spikes)
        return integral, counts, jnp.stack(complete)

    flat = xs.reshape(steps, -1, xs.shape[-1])
    total, counts, complete = jax.vmap(example, in_axes=1)(flat)
    total = total.reshape(*xs.shape[1:-1], total.shape[-1])
    value, metrics = objective.finish(total, {}, steps, labels)
    rates = {
        f"rate/{name}": jnp.mean(count) / (steps * params[block.weights]["weight"].shape[1])
        for block, (name, count) in zip(hidden, counts.items(), strict=True)
    }
    return value, {**metrics, **rates, "complete": jnp.mean(complete)}


def _readout(weight: Array, tau: float, horizon: float, spikes: Spikes) -> Array:
    rows = jnp.concatenate([weight, jnp.zeros((1, weight.shape[1]), weight.dtype)])
    finite = jnp.where(jnp.isfinite(spikes.times), spikes.times, horizon)
    return _exponential_integral(tau, horizon, finite) @ rows[spikes.neurons]


def _exponential_integral(tau: float, horizon: float, times: Array) -> Array:
    r"""$\int_t^H e^{-(u - t) / \tau} du$, what a spike at $t$ adds to the time integral of a leaky integrator."""
    left = horizon - times
    return left if math.isinf(tau) else -tau * jnp.expm1(-left / tau)


def _time_constants(block: Block) -> dict[str, float]:
    assert block.layer is not None
    layer = block.layer.about["neuron"] if block.recurrent else block.layer
    given = layer.about["values"].given

    def tau(decay: Any) -> float:
        return math.inf if decay == 1 else -1 / math.log(decay)

    constants = {"tau_mem": tau(given["decay"])}
    if "synaptic_decay" in given:
        constants |= {"tau_syn": tau(given["synaptic_decay"]), "threshold": given["threshold"]}
    return constants


def _refuse(objective: Objective, params: Params, blocks: list[Block]) -> None:
    if len(blocks) < 2:
        raise UsageError("eventprop: wanted at least one layer of spiking neurons before the readout")
    for block in blocks:
        last = block is blocks[-1]
        wanted = "leaky_integrator" if last else "current_lif"
        layer = block.layer.about["neuron"] if block.recurrent and block.layer else block.layer
        if layer is None or layer.about["kind"] != wanted or (last and block.recurrent):
            raise UsageError(f"eventprop: {block.neuron or block.weights!r} must be a {wanted}")
        values = layer.about["values"]
        if values.learn or any(jnp.ndim(value) for value in values.given.values()):
            raise UsageError(f"eventprop: {block.neuron!r} must have the same fixed constants for all its neurons")
        if layer.about.get("normalize") or ("cell" in layer.about and layer.about["cell"].normalize):
            raise UsageError(f"eventprop: {block.neuron!r} must not normalize its current")
        if not last and layer.about["cell"].membrane.reset == "none":
            raise UsageError(f"eventprop: {block.neuron!r} must reset its potential")
        if "bias" in params[block.weights]:
            raise UsageError(f"eventprop: {block.weights!r} must have no bias (a constant current has no events)")
    start = objective.loss.start(jnp.zeros((1, 1)), jnp.zeros(1, jnp.int32))
    if not isinstance(start, jax.Array):
        raise UsageError("eventprop: the loss must be one of summed outputs (count, mean or rate)")
