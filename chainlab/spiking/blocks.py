"""What the online rules share: a network as weights and neurons in turn, and its learning signals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainlab.errors import UsageError
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.objective import Objective
from chainlab.spiking.sequences import Constant, first, length, stepwise
from chainlab.typing import Batch, Gradient, Metrics, Params, PRNGKey, State


class Block(NamedTuple):
    """A product of weights, and the neuron that its result drives.

    Attributes:
        weights: Name of the dense layer.
        neuron: Name of the neuron layer, or None for a product at the end.
        layer: The neuron.
        recurrent: Whether the neuron has recurrent weights.
    """

    weights: str
    neuron: str | None
    layer: Neuron | None
    recurrent: bool


def blocks_of(objective: Objective, params: Params, rule: str) -> list[Block]:
    """Cut a network into blocks.

    Args:
        objective: The objective.
        params: Its parameters.
        rule: The rule's name, for messages.

    Returns:
        The blocks in order.

    Raises:
        UsageError: The network is not dense layers and neurons in turn, the loss is not additive over time, or
            there is a penalty.
    """
    if not objective.loss.additive:
        raise UsageError(f"{rule}: the loss must be a sum over time (a count, mean or step loss)")
    if objective.penalty is not None:
        raise UsageError(f"{rule}: penalty is not a sum over time; leave it out or use bptt")
    blocks: list[Block] = []
    pending: str | None = None
    for name, layer in objective.network.layers.items():
        if isinstance(layer, Neuron):
            if pending is None:
                raise UsageError(f"{rule}: neuron layer {name!r} must directly follow a dense layer")
            blocks.append(Block(pending, name, layer, layer.about["kind"] == "recurrent"))
            pending = None
        else:
            if not set(params[name]) <= {"weight", "bias"} or jnp.ndim(params[name].get("weight")) != 2:
                raise UsageError(f"{rule}: layer {name!r} must be a dense layer or a neuron")
            if pending is not None:
                raise UsageError(f"{rule}: dense layers {pending!r} and {name!r} need a neuron between them")
            pending = name
    if pending is not None:
        blocks.append(Block(pending, None, None, False))
    return blocks


class Step(NamedTuple):
    """What an online rule sees of one time step.

    Attributes:
        before: State of every neuron layer before the step.
        inputs: Input of every dense layer.
        currents: Result of every dense layer.
        signals: Learning signal of every block: the derivative of this step's loss with respect to its output,
            through the layers above at this very step.
    """

    before: State
    inputs: dict[str, Array]
    currents: dict[str, Array]
    signals: dict[str, Array]


Update = Callable[[Params, Any, Step], tuple[Any, Params]]


def online(
    objective: Objective,
    blocks: list[Block],
    start: Callable[[Params, State, dict[str, Array]], Any],
    update: Update,
) -> Gradient:
    """Scan a rule forwards in time: nothing that it stores grows with the number of steps.

    A loss that is linear in its sum over time gives every step's learning signal at once. For another one a
    first pass finds the sum.

    Args:
        objective: The objective.
        blocks: Its blocks.
        start: `start(params, state, currents) -> traces` before the first step, given the state at rest and
            one step's currents.
        update: `update(params, traces, step) -> (traces, gradient of this step)`.

    Returns:
        The gradient.
    """
    network, loss = objective.network, objective.loss

    def forward(params: Params, state: State, x: Array, nudges: dict[str, Array]) -> tuple[Array, Any]:
        """One step with something added to each block's output, which the learning signals are taken of."""
        after: dict[str, State] = {}
        inputs: dict[str, Array] = {}
        currents: dict[str, Array] = {}
        for block in blocks:
            inputs[block.weights] = x
            x = currents[block.weights] = network.layers[block.weights].apply(params[block.weights], x)  # pyright: ignore[reportAttributeAccessIssue]
            if block.neuron is not None and block.layer is not None:
                after[block.neuron], x = block.layer.step(params[block.neuron], state[block.neuron], x)
            x = x + nudges[block.weights]
        return x, (after, inputs, currents)

    def run(params: Params, batch: Batch, key: PRNGKey) -> tuple[tuple[Array, Metrics], Params]:
        inputs, labels = objective.read(batch, key)
        xs = stepwise(inputs)
        steps, x0 = length(xs), first(xs)
        rest = network.rest(params, x0)
        outputs = jax.eval_shape(network.step, params, rest, x0)[1]
        zeros = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in outputs.items()}
        nudges = {block.weights: zeros[block.neuron or block.weights] for block in blocks}
        counts = {b.neuron: zeros[b.neuron] for b in blocks if b.neuron and b.layer and b.layer.spikes}
        folded = loss.start(zeros[network.last], labels)
        scanned = None if isinstance(xs, Constant) else xs

        def input_of(x: Array | None) -> Array:
            return xs.value if isinstance(xs, Constant) else x  # pyright: ignore[reportReturnType]

        def count(counts: dict[str, Array], outputs: dict[str, Array]) -> dict[str, Array]:
            return {name: total + outputs[name] for name, total in counts.items()}

        def finish(folded: Any) -> tuple[Array, Metrics]:
            return objective.finish(folded, {}, steps, labels)

        def first_pass(carry: tuple[Any, Any], x: Array | None) -> tuple[tuple[Any, Any], None]:
            state, folded = carry
            state, outputs = network.step(params, state, input_of(x))
            return (state, loss.fold(folded, outputs[network.last][None], labels)), None

        at = folded
        if not loss.linear:
            (_, at), _ = jax.lax.scan(first_pass, (rest, folded), scanned, length=steps)
        final = jax.grad(lambda folded: finish(folded)[0], allow_int=True)(at)

        def body(carry: tuple[Any, ...], x: Array | None) -> tuple[tuple[Any, ...], None]:
            state, folded, counts, traces, total = carry

            def of_nudges(nudges: dict[str, Array]) -> tuple[Any, Any]:
                output, seen = forward(params, state, input_of(x), nudges)
                return loss.fold(folded, output[None], labels), (output, seen)

            after_fold, pull, (output, (after, inputs, currents)) = jax.vjp(of_nudges, nudges, has_aux=True)
            (signals,) = pull(final)
            traces, gradient = update(params, traces, Step(state, inputs, currents, signals))
            total = jax.tree.map(jnp.add, total, gradient)
            # every neuron's output is the next block's input, and the last one's the output
            following = [*(inputs[block.weights] for block in blocks[1:]), output]
            spikes = {b.neuron: y for b, y in zip(blocks, following, strict=True) if b.neuron}
            return (after, after_fold, count(counts, spikes), traces, total), None

        _, (_, _, currents) = jax.eval_shape(forward, params, rest, x0, nudges)
        currents = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), currents)
        total = jax.tree.map(jnp.zeros_like, params)
        carry = (rest, folded, counts, start(params, rest, currents), total)
        (_, folded, counts, _, total), _ = jax.lax.scan(body, carry, scanned, length=steps)
        return objective.finish(folded, counts, steps, labels), total

    return run


def presynaptic(params: Params, block: Block, step: Step) -> Array:
    """Everything that the weights of a block multiply: input, one for a bias, and the last spikes."""
    parts = [step.inputs[block.weights]]
    if "bias" in params[block.weights]:
        parts.append(jnp.ones((*parts[0].shape[:-1], 1), parts[0].dtype))
    if block.recurrent:
        parts.append(step.before[block.neuron]["spike"])
    return jnp.concatenate(parts, axis=-1)


def split_weights(params: Params, block: Block, gradient: Array) -> Params:
    """The inverse of `presynaptic`: a gradient over stacked rows as that of weight, bias and recurrent weight."""
    rows = params[block.weights]["weight"].shape[0]
    parts: dict[str, Any] = {block.weights: {"weight": gradient[:rows]}}
    if "bias" in params[block.weights]:
        parts[block.weights]["bias"] = gradient[rows]
        rows += 1
    if block.recurrent:
        assert block.neuron is not None
        parts[block.neuron] = {"weight": gradient[rows:]}
    return parts
