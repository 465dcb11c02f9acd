"""Backpropagation through time: in full, truncated, or recomputed within a memory budget."""

import math
from functools import partial
from typing import Any

import jax
from jaxtyping import Array

from chainlab.autodiff.rules import backprop
from chainlab.errors import UsageError
from chainlab.spiking.chunks import Body, cached_steps
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.objective import Objective, of_network
from chainlab.spiking.sequences import Constant, Sequence, Silent, first
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

    References:
        Williams and Peng, An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories,
        Neural Computation 2, 1990.
    """
    if steps < 1:
        raise UsageError(f"truncated: steps must be at least 1, got {steps}")

    def rule(objective: Any) -> Gradient:
        spiking = of_network(objective, "truncated")
        return backprop(partial(spiking.in_chunks, steps=steps, around=_cut))

    return rule


def _cut(body: Body) -> Body:
    return lambda carry, start: body(carry._replace(state=jax.lax.stop_gradient(carry.state)), start)


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
        UsageError: Both are given, `steps` is less than 1, or even the best chunk exceeds the budget.

    References:
        Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174, section 4.
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
            if chunk >= _steps(xs):
                return spiking(params, batch, key)
            return spiking.in_chunks(params, batch, key, steps=chunk, around=jax.checkpoint)

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
    total = _steps(xs)
    if memory is None:
        return math.ceil(math.sqrt(total))
    carried, kept, touched, widest = _footprint(objective, params, xs)

    def recomputing(chunk: int) -> float:
        # what remains after the last whole chunk is a program of its own
        return (math.ceil(total / chunk) * carried + (chunk + total % chunk) * touched) / _MIB

    cached = cached_steps(total, widest)
    if (total * kept + cached * touched) / _MIB <= memory:
        return total
    best = min(range(1, total + 1), key=recomputing)
    if recomputing(best) > memory:
        raise UsageError(
            f"checkpointed: memory of {memory} MiB is too little for {total} steps: chunks of {best} need about "
            f"{recomputing(best):.2f} MiB; give more, or use an online rule, whose memory does not grow with time"
        )
    # recomputing costs the same whatever the chunk: a longer one than the cache takes would only be slower
    return max(chunk for chunk in range(best, max(best, cached) + 1) if recomputing(chunk) <= memory)


def _steps(xs: Sequence | Shape) -> int:
    return xs.steps if isinstance(xs, Constant | Silent) else xs.shape[0]


def _footprint(objective: Objective, params: Params, xs: Sequence | Shape) -> tuple[int, int, int, int]:
    """Bytes of the state, and of a step: what full backpropagation keeps, what a chunk touches, the largest output."""

    def size(tree: Any) -> int:
        return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    def shapes(params: Params, xs: Sequence) -> tuple[Any, Any, Any]:
        state = objective.network.rest(params, first(xs))
        return first(xs), state, objective.network.step(params, state, first(xs))[1]

    x, state, outputs = jax.eval_shape(shapes, params, xs)
    kept, touched, spiking, binary = 0, size(x), False, False
    for name, layer in objective.network.layers.items():
        if isinstance(layer, Neuron):
            # a neuron keeps its states, and its currents too where autodiff runs its steps again
            kept += size(state[name]) + (0 if layer.unroll else size(x))
            spiking, binary = True, layer.about.get("binary", False)
        elif spiking:
            # a product keeps what it multiplies; before the first neuron that is a slice of the inputs
            kept, binary = kept + (math.prod(x.shape) if binary else size(x)), False
        # outputs and their adjoints
        touched += 2 * size(outputs[name]) + (size(state[name]) if isinstance(layer, Neuron) else 0)
        x = outputs[name]
    return size(state), kept, touched, max(size(output) for output in outputs.values())
