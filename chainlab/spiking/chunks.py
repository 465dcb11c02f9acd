"""Backpropagation through time in chunks: truncated, or recomputed within a memory budget."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainlab.autodiff.rules import backprop
from chainlab.errors import UsageError
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.objective import Objective, of_network
from chainlab.spiking.sequences import Constant, Sequence, Silent, first, length, stepwise
from chainlab.typing import Batch, Gradient, Metrics, Params, PRNGKey, Rule
from chainlab.typing import Objective as ObjectiveFunction

Shape = jax.ShapeDtypeStruct
_MIB = 2**20


def bptt(objective: ObjectiveFunction) -> Gradient:
    """Full backpropagation through time, by the layers' own (hand-derived) adjoints.

    Args:
        objective: Of a spiking network, or any other.

    Returns:
        The objective's value, metrics and gradient.
    """
    return backprop(objective)


def truncated(steps: int) -> Rule:
    r"""Backpropagation through the last steps only: the state is a constant at the end of every chunk.

    Args:
        steps: Length of a chunk; the gradient of a step reaches back to the start of its chunk.

    Returns:
        A rule.

    Raises:
        UsageError: `steps` is less than 1.
    """
    if steps < 1:
        raise UsageError(f"truncated: steps must be at least 1, got {steps}")

    def rule(objective: Any) -> Gradient:
        spiking = of_network(objective, "truncated")
        return backprop(lambda *arguments: _in_chunks(spiking, steps, False, *arguments))

    return rule


def checkpointed(memory: float | None = None, *, steps: int | None = None) -> Rule:
    r"""Full backpropagation through time that stores the state once a chunk and recomputes the rest.

    With chunks of $c$ of the $T$ steps it stores $T/c$ states and one chunk, least for $c \approx \sqrt T$, at the
    price of a second forward pass. The gradient is that of `bptt`.

    Args:
        memory: Budget in MiB for what the backward pass stores; the longest chunk that fits is taken. Without
            it, $c = \lceil \sqrt T \rceil$.
        steps: Length of a chunk, instead of a budget.

    Returns:
        A rule.

    Raises:
        UsageError: Both or neither sensible: `steps` less than 1, a budget that even the best chunk exceeds.
    """
    if memory is not None and steps is not None:
        raise UsageError("checkpointed takes memory or steps, not both")
    if steps is not None and steps < 1:
        raise UsageError(f"checkpointed: steps must be at least 1, got {steps}")

    def rule(objective: Any) -> Gradient:
        spiking = of_network(objective, "checkpointed")

        def recomputed(params: Params, batch: Batch, key: PRNGKey) -> tuple[Array, Metrics]:
            xs = jax.eval_shape(spiking.read, batch, key)[0]
            chunk = steps or chunk_length(spiking, params, xs, memory)
            return _in_chunks(spiking, chunk, True, params, batch, key)

        return backprop(recomputed)

    return rule


def chunk_length(objective: Objective, params: Params, xs: Sequence | Shape, memory: float | None) -> int:
    """The chunk that `checkpointed` takes.

    Args:
        objective: The objective.
        params: Its parameters, or their shapes.
        xs: The inputs, or their shapes.
        memory: Budget in MiB, or None for the least memory.

    Returns:
        Steps of a chunk: all of them where the budget allows full backpropagation.

    Raises:
        UsageError: No chunk fits the budget; says what would.
    """
    total = xs.steps if isinstance(xs, Constant | Silent) else xs.shape[0]
    best = math.ceil(math.sqrt(total))
    if memory is None:
        return best
    state, step = _footprint(objective, params, xs)

    def need(chunk: int) -> float:
        kept = 0 if chunk >= total else math.ceil(total / chunk) * state
        return (kept + chunk * step) / _MIB

    if need(total) <= memory:
        return total
    best = min(range(1, total + 1), key=need)
    if need(best) > memory:
        raise UsageError(
            f"checkpointed: memory of {memory} MiB is too little for {total} steps: chunks of {best} need about "
            f"{need(best):.2f} MiB; give more, or use an online rule, whose memory does not grow with time"
        )
    return max(chunk for chunk in range(best, total + 1) if need(chunk) <= memory)


def _footprint(objective: Objective, params: Params, xs: Sequence | Shape) -> tuple[int, int]:
    """Bytes of the network's state, and bytes that differentiating one more step stores."""

    def size(tree: Any) -> int:
        return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    def shapes(params: Params, xs: Sequence) -> tuple[Any, Any]:
        state = objective.network.rest(params, first(xs))
        return state, objective.network.step(params, state, first(xs))[1]

    state, outputs = jax.eval_shape(shapes, params, xs)
    stored = 0
    for name, layer in objective.network.layers.items():
        # a neuron keeps its state and its spike, a product its result; each has an adjoint of the same size
        stored += 2 * size(outputs[name]) + (size(state[name]) if isinstance(layer, Neuron) else 0)
    return size(state), stored


def _in_chunks(
    objective: Objective, chunk: int, remat: bool, params: Params, batch: Batch, key: PRNGKey
) -> tuple[Array, Metrics]:
    """The objective a chunk of time after the other; between chunks the state is stored or, without `remat`, cut."""
    inputs, labels = objective.read(batch, key)
    xs, total = stepwise(inputs), length(inputs)
    chunk = min(chunk, total)
    network, loss = objective.network, objective.loss

    def part(start: Array, steps: int) -> Sequence:
        if isinstance(xs, Constant):
            return xs.part(steps)
        # sliced in the loop: cutting the inputs up beforehand would copy them all
        return jax.lax.dynamic_slice_in_dim(xs, start, steps)

    def body(carry: tuple[Any, Any, Any], inputs: Sequence) -> tuple[Any, Any, Any]:
        state, folded, counts = carry
        if not remat:
            state = jax.lax.stop_gradient(state)
        unrolled = network.unroll(params, state, inputs)
        counts = jax.tree.map(jnp.add, counts, dict(unrolled.counts))
        return unrolled.state, loss.fold(folded, unrolled.outputs, labels), counts

    state = network.rest(params, first(xs))
    shapes = jax.eval_shape(network.unroll, params, state, xs)
    output = jnp.zeros(shapes.outputs.shape[1:], shapes.outputs.dtype)
    counts = jax.tree.map(lambda count: jnp.zeros(count.shape, count.dtype), dict(shapes.counts))
    carry = (state, loss.start(output, labels), counts)

    def run(carry: tuple[Any, Any, Any], start: Array, steps: int) -> tuple[Any, Any, Any]:
        step = lambda carry, start: body(carry, part(start, steps))  # noqa: E731
        return (jax.checkpoint(step) if remat and chunk < total else step)(carry, start)

    whole = total // chunk
    starts = chunk * jnp.arange(whole, dtype=jnp.int32)
    carry, _ = jax.lax.scan(lambda carry, start: (run(carry, start, chunk), None), carry, starts)
    if total > whole * chunk:
        carry = run(carry, jnp.int32(whole * chunk), total - whole * chunk)
    _, folded, counts = carry
    return objective.finish(folded, counts, total, labels)
