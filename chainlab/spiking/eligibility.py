"""E-prop: eligibility traces of every synapse, for any neuron, with or without recurrence."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainlab.errors import UsageError
from chainlab.spiking.blocks import Block, Step, blocks_of, online, presynaptic, split_weights
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.objective import of_network
from chainlab.typing import Batch, Gradient, Metrics, Params, PRNGKey, State


def eprop(objective: Any) -> Gradient:
    r"""Eligibility propagation, $\frac{dE}{dW_{ij}} = \sum_t L_j^t\, \bar e_{ij}^t$.

    The eligibility $e_{ij}^t = \frac{\partial s_j^t}{\partial h_j^t} \varepsilon_{ij}^t$ follows the neuron's own
    state, $\varepsilon_{ij}^t = \frac{\partial h_j^t}{\partial h_j^{t-1}} \varepsilon_{ij}^{t-1} + \frac{\partial
    h_j^t}{\partial I_j^t} x_i^t$, for any neuron whose state is elementwise; the learning signal $L_j^t$ is the
    derivative of the step's loss through the layers above at that step (symmetric feedback). Below a leaky readout
    the eligibility is filtered by its decay.

    It is exact for one layer of neurons without recurrence below a readout. With recurrent weights or more layers it
    leaves out the paths through other neurons' later spikes. It stores one eligibility a synapse, state variable
    and example, whatever the number of steps.

    Args:
        objective: Of a network of dense layers and neurons in turn.

    Returns:
        The gradient; constants that neurons learn have eligibilities of their own.

    Raises:
        UsageError: The network or loss is not of that form; says what is not.

    References:
        Bellec et al., A solution to the learning dilemma for recurrent networks of spiking neurons, Nature
        Communications 11, 2020, equations 1, 13, 14 and 22.
    """
    spiking = of_network(objective, "eprop")

    def run(params: Params, batch: Batch, key: PRNGKey) -> tuple[tuple[Array, Metrics], Params]:
        blocks = blocks_of(spiking, params, "eprop")
        readout = blocks[-1].layer
        kappa = None
        if readout is not None and not readout.spikes and len(blocks) > 1:
            kappa = _readout_decay(readout)

        def start(params: Params, state: State, currents: dict[str, Array]) -> Any:
            traces: dict[str, Any] = {}
            for block in blocks:
                if block.neuron is None or block.layer is None:
                    continue
                like = currents[block.weights]
                rows = _rows(params, block)
                _, own, hidden = _parts(block, params[block.neuron], state[block.neuron])
                if any(leaf.shape != like.shape for leaf in jax.tree.leaves(hidden)):
                    raise UsageError(f"eprop: neuron {block.neuron!r} has a state that is not one value a neuron")
                synapse = jnp.zeros((rows, *like.shape), like.dtype)
                traces[block.neuron] = {
                    "weights": jax.tree.map(lambda leaf, z=synapse: z, hidden),
                    "own": {name: jax.tree.map(jnp.zeros_like, hidden) for name in own},
                    "filtered": (synapse, {name: jnp.zeros_like(like) for name in own}),
                }
            return traces

        def update(params: Params, traces: Any, step: Step) -> tuple[Any, Params]:
            gradient = jax.tree.map(jnp.zeros_like, params)
            after: dict[str, Any] = {}
            for index, block in enumerate(blocks):
                inputs = presynaptic(params, block, step)
                signal = step.signals[block.weights]
                if block.neuron is None or block.layer is None:
                    add(gradient, split_weights(params, block, outer(inputs, signal)))
                    continue
                trace = traces[block.neuron]
                eligibility, trace = _advance(params[block.neuron], block, trace, step, inputs)
                if kappa is not None and index < len(blocks) - 1:
                    eligibility = jax.tree.map(lambda old, new: kappa * old + new, trace["filtered"], eligibility)
                after[block.neuron] = {**trace, "filtered": eligibility}
                of_weights, of_own = eligibility
                axes = tuple(range(1, of_weights.ndim - 1))
                add(gradient, split_weights(params, block, jnp.sum(of_weights * signal[None], axis=axes)))
                own = {name: jnp.sum(e * signal, axis=tuple(range(signal.ndim - 1))) for name, e in of_own.items()}
                add(gradient, {block.neuron: {"neuron": own} if block.recurrent else own})
            return after, gradient

        return online(spiking, blocks, start, update)(params, batch, key)

    return run


def _readout_decay(readout: Neuron) -> float:
    """The decay of a leaky readout, by which the eligibilities below it are filtered."""
    values = readout.about.get("values")
    if readout.about["kind"] != "leaky_integrator" or values is None or values.learn or jnp.ndim(values.given["decay"]):
        raise UsageError("eprop: a readout with state must be a leaky_integrator with one fixed decay")
    return float(values.given["decay"])  # a share of the current that it takes in is in the learning signal


def _rows(params: Params, block: Block) -> int:
    weight = params[block.weights]["weight"]
    return weight.shape[0] + ("bias" in params[block.weights]) + (weight.shape[1] if block.recurrent else 0)


def _parts(block: Block, params: Params, state: State) -> tuple[Neuron, Params, State]:
    """The neuron inside a recurrent wrapper, its own parameters, and its state without the last spikes."""
    assert block.layer is not None
    if not block.recurrent:
        return block.layer, params, state
    hidden = state["neuron"] if "neuron" in state else {name: x for name, x in state.items() if name != "spike"}
    return block.layer.about["neuron"], params["neuron"], hidden


def _advance(
    params: Params, block: Block, trace: dict[str, Any], step: Step, inputs: Array
) -> tuple[tuple[Array, dict[str, Array]], dict[str, Any]]:
    """Eligibilities of the outputs, and the traces of the state after the step."""
    assert block.neuron is not None
    neuron, own, hidden = _parts(block, params, step.before[block.neuron])
    current = step.currents[block.weights]
    if block.recurrent:
        current = current + step.before[block.neuron]["spike"] @ params["weight"]

    def push(own_tangent: Params, hidden_tangent: State, current_tangent: Array) -> tuple[State, Array]:
        point, tangent = (own, hidden, current), (own_tangent, hidden_tangent, current_tangent)
        return jax.jvp(neuron.step, point, tangent)[1]

    no_own = jax.tree.map(jnp.zeros_like, own)
    rows = jnp.moveaxis(inputs, -1, 0)[..., None]
    driven = jnp.broadcast_to(rows, (rows.shape[0], *current.shape))
    state, spike = jax.vmap(lambda h, x: push(no_own, h, x))(trace["weights"], driven)
    own_states, own_spikes = {}, {}
    for name in own:
        direction = {**no_own, name: jnp.ones_like(own[name])}
        own_states[name], own_spikes[name] = push(direction, trace["own"][name], jnp.zeros_like(current))
    return (spike, own_spikes), {**trace, "weights": state, "own": own_states}


def outer(inputs: Array, signal: Array) -> Array:
    """The gradient of weights from what they multiply and the adjoint of the result, summed over the batch."""
    return inputs.reshape(-1, inputs.shape[-1]).T @ signal.reshape(-1, signal.shape[-1])


def add(total: Params, part: Params) -> None:
    """Add the entries of `part` into `total`."""
    for name, value in part.items():
        if isinstance(value, dict):
            add(total[name], value)
        else:
            total[name] = total[name] + value
