"""A network run over time in chunks, each through all its layers: what is between two layers stays in the cache."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainlab.spiking.loss import Loss
from chainlab.spiking.network import Network
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.sequences import Constant, Sequence, Silent, first, length
from chainlab.typing import Params, State

# of one layer's outputs: with the input, the adjoint and what is kept, a chunk of that size fills a usual cache
_CHUNK_BYTES = 2 * 2**20


class Carry(NamedTuple):
    """What goes from one chunk to the next.

    Attributes:
        state: The state of every neuron layer.
        folded: What the loss has made of the outputs so far.
        counts: Spikes of every neuron so far, by spiking layer.
    """

    state: State
    folded: Any
    counts: dict[str, Array]


Body = Callable[[Carry, Any], Carry]


def in_chunks(
    network: Network,
    loss: Loss,
    params: Params,
    xs: Sequence,
    labels: Any,
    *,
    steps: int | None = None,
    around: Callable[[Body], Body] = lambda body: body,
) -> Carry:
    """Run a network from rest and fold its outputs into a loss, chunk by chunk.

    The outputs are never all there at once, and what a layer hands to the next is still in the cache when that one
    reads it: on CPU that is worth more than larger matrix products.

    Args:
        network: The network.
        loss: The fold.
        params: Parameters of the network.
        xs: Its inputs.
        labels: Labels of the loss.
        steps: Length of a chunk; None chooses it by the cache.
        around: Transforms what is done in a chunk, `body(carry, start) -> carry`: to recompute it backwards, say.

    Returns:
        What is carried after the last step.
    """
    state = network.rest(params, first(xs))
    shapes = jax.eval_shape(network.step, params, state, first(xs))[1]
    outputs = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}
    spiking = [name for name, layer in network.layers.items() if isinstance(layer, Neuron) and layer.spikes]
    start = loss.start(outputs[network.last], labels)
    carry = Carry(state, start, {name: outputs[name] for name in spiking})
    if isinstance(xs, Silent):
        # its products are few for all steps at once, and no fewer for a chunk
        xs, steps = (xs, length(xs)) if steps is None else (xs.expand(), steps)
    total = length(xs)
    steps = min(steps or cached_steps(total, _widest(network, outputs, xs)), total)
    return _run(_chunk_of(network, loss, params, xs, labels), carry, total, steps, around)


def cached_steps(total: int, step_bytes: int) -> int:
    """Steps of a chunk whose activations stay in the cache.

    Args:
        total: Steps of the sequence.
        step_bytes: Bytes of one step's largest layer output.

    Returns:
        All steps where the backend is not a CPU; else a length that divides `total`, if there is one near the
        longest that fits.

    Example:
        >>> cached_steps(500, 16 * 512 * 4), cached_steps(25, 128 * 128 * 4), cached_steps(97, 2**20)
        (50, 25, 2)
    """
    most = max(1, _CHUNK_BYTES // max(1, step_bytes))
    if jax.default_backend() != "cpu" or total <= most:
        return total
    divisors = [steps for steps in range(most, most // 2, -1) if total % steps == 0]
    return divisors[0] if divisors else math.ceil(total / math.ceil(total / most))


def _widest(network: Network, outputs: Mapping[str, Array], xs: Sequence) -> int:
    """Bytes of the largest output of one step; what does not change is not read anew at every step."""
    layers = network.split()[1].layers if isinstance(xs, Constant) else network.layers
    return max(outputs[name].size * outputs[name].dtype.itemsize for name in layers)


def _chunk_of(
    network: Network, loss: Loss, params: Params, xs: Sequence, labels: Any
) -> Callable[[Carry, Any, int], Carry]:
    """`chunk(carry, start, count)`: a number of steps from one on, through all layers."""
    front, back = network.split()
    constant = front(params, xs.value) if isinstance(xs, Constant) else None

    # The slice of the inputs is taken again backwards, where it would be kept as a copy of them otherwise. What
    # comes of it is not: a product's derivative does not need its result.
    @partial(jax.checkpoint, static_argnums=2, prevent_cse=False)
    def currents(params: Params, start: Any, count: int) -> Array:
        assert not isinstance(xs, Constant | Silent)
        return front(params, jax.lax.dynamic_slice_in_dim(xs, start, count))

    def inputs(start: Any, count: int) -> Sequence:
        if constant is not None:
            return Constant(constant, count)
        if count == length(xs):
            return jax.tree.map(partial(front, params), xs)
        return currents(params, start, count)

    def chunk(carry: Carry, start: Any, count: int) -> Carry:
        unrolled = back.unroll(params, carry.state, inputs(start, count))
        counts = jax.tree.map(jnp.add, carry.counts, dict(unrolled.counts))
        return Carry(unrolled.state, loss.fold(carry.folded, unrolled.outputs, labels), counts)

    return chunk


def _run(
    chunk: Callable[[Carry, Any, int], Carry],
    carry: Carry,
    total: int,
    steps: int,
    around: Callable[[Body], Body],
) -> Carry:
    """As many chunks as there are, and what remains as a shorter one."""
    whole, rest = divmod(total, steps)
    body = around(lambda carry, start: chunk(carry, start, steps))
    if whole == 1:
        carry = body(carry, 0)
    else:
        starts = steps * jnp.arange(whole, dtype=jnp.int32)
        carry, _ = jax.lax.scan(lambda carry, start: (body(carry, start), None), carry, starts)
    if rest:
        carry = around(lambda carry, start: chunk(carry, start, rest))(carry, whole * steps)
    return carry
