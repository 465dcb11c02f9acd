"""A network: stateless layers and neurons in a row, run over time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.spiking.neuron import Neuron, scan
from chainlab.spiking.packing import apply_to_spikes
from chainlab.spiking.sequences import Constant, Sequence, Silent, first, length, stepwise
from chainlab.typing import Params, PRNGKey, State

Layer: TypeAlias = Model | Neuron


class Unrolled(NamedTuple):
    """What running a network gives.

    Attributes:
        state: The state of every neuron layer after the last step.
        outputs: Outputs of the last layer, time first.
        counts: Spikes of every neuron summed over time, by spiking layer.
    """

    state: State
    outputs: Array
    counts: Mapping[str, Array]


@dataclass(frozen=True)
class Network:
    """Layers by name, in order: models (stateless) and neurons.

    A stateless layer does not depend on time, so it is applied to all steps in one product; only neurons are
    scanned. `Constant` inputs stay constant until the first neuron.

    Attributes:
        layers: Models and neurons by name; the names are the parameters' keys.

    Example:
        >>> import jax
        >>> from chainlab import nn, spiking
        >>> net = spiking.Network({"dense": nn.dense(4, 8), "lif": spiking.lif(8), "head": nn.dense(8, 2)})
        >>> net.apply(net.init(jax.random.key(0)), jax.numpy.ones((10, 3, 4))).shape
        (10, 3, 2)
    """

    layers: Mapping[str, Layer]

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        if not self.layers:
            raise UsageError("layers: a network needs at least one layer")

    def init(self, key: PRNGKey) -> Params:
        """Parameters of every layer."""
        keys = jax.random.split(key, len(self.layers))
        return {name: layer.init(k) for (name, layer), k in zip(self.layers.items(), keys, strict=True)}

    @property
    def last(self) -> str:
        """Name of the last layer."""
        return list(self.layers)[-1]

    @property
    def model(self) -> Model:
        """The network as a model over whole sequences, time first."""
        return Model(self.init, self.apply)

    def rest(self, params: Params, x: Float[Array, "*batch dim"]) -> State:
        """The state of every neuron layer before a first step with an input like `x`."""
        states: dict[str, State] = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Neuron):
                states[name] = layer.rest(params[name], x)
                shape = jax.eval_shape(layer.step, params[name], states[name], x)[1]
            else:
                shape = jax.eval_shape(layer.apply, params[name], x)
            x = jnp.zeros(shape.shape, shape.dtype)
        return states

    def step(self, params: Params, state: State, x: Float[Array, "*batch dim"]) -> tuple[State, dict[str, Array]]:
        """One time step: the state after it, and the output of every layer."""
        after: dict[str, State] = {}
        outputs: dict[str, Array] = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Neuron):
                after[name], x = layer.step(params[name], state[name], x)
            else:
                x = layer.apply(params[name], x)
            outputs[name] = x
        return after, outputs

    def unroll(self, params: Params, state: State, xs: Sequence, *, key: PRNGKey | None = None) -> Unrolled:
        """Run all steps of `xs` from a state, layer by layer."""
        length(xs)
        after: dict[str, State] = {}
        counts: dict[str, Array] = {}
        keys = [None] * len(self.layers) if key is None else list(jax.random.split(key, len(self.layers)))
        binary = False
        for (name, layer), layer_key in zip(self.layers.items(), keys, strict=True):
            if isinstance(layer, Neuron):
                run = layer.unroll or partial(scan, layer)
                after[name], outputs = run(params[name], state[name], stepwise(xs))
                if layer.spikes:
                    counts[name] = jnp.sum(outputs, axis=0)
                xs, binary = outputs, layer.about.get("binary", False)
            elif binary and jax.tree.leaves(params[name]):
                xs, binary = cast(Array, apply_to_spikes(layer.apply, params[name], stepwise(xs), layer_key)), False
            else:
                # an array, or the arrays that a `Constant` or a `Silent` sequence consists of
                xs, binary = jax.tree.map(partial(layer.apply, params[name], key=layer_key), xs), False
        return Unrolled(after, xs.expand() if isinstance(xs, Constant | Silent) else xs, counts)

    def split(self) -> tuple[Callable[[Params, Array], Array], "Network"]:
        """The stateless layers before the first neuron as a function, and the network of the others."""
        names = list(self.layers)
        first_neuron = next((i for i, layer in enumerate(self.layers.values()) if isinstance(layer, Neuron)), 0)

        def front(params: Params, x: Array) -> Array:
            for name in names[:first_neuron]:
                x = self.layers[name].apply(params[name], x)  # pyright: ignore[reportAttributeAccessIssue]
            return x

        return front, Network({name: self.layers[name] for name in names[first_neuron:]})

    def apply(self, params: Params, xs: Sequence, *, key: PRNGKey | None = None) -> Array:
        """Outputs of the last layer over time, from rest."""
        return self.unroll(params, self.rest(params, first(xs)), xs, key=key).outputs

    def record(self, params: Params, xs: Sequence) -> dict[str, dict[str, Array]]:
        """Outputs and membranes of every neuron layer over time, for looking at: layer -> name -> array."""
        steps, xs = length(xs), stepwise(xs)

        def body(state: State, x: Any) -> tuple[State, dict[str, dict[str, Array]]]:
            state, outputs = self.step(params, state, xs.value if isinstance(xs, Constant) else x)
            kept = {
                name: {"outputs": outputs[name], "membrane": layer.membrane(state[name])}
                for name, layer in self.layers.items()
                if isinstance(layer, Neuron)
            }
            return state, kept

        inputs = None if isinstance(xs, Constant) else xs
        return jax.lax.scan(body, self.rest(params, first(xs)), inputs, length=steps)[1]
