"""The neuron: a pure step function, and optionally a faster way to run it over time."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from chainlab.spiking.sequences import Constant, length
from chainlab.typing import Params, PRNGKey, State


class Neuron(NamedTuple):
    """A layer with state, as pure functions of one time step.

    Any step of your own is a neuron: `Neuron(init, rest, step)`. What it lacks of the optional parts is
    derived from `step`.

    Attributes:
        init: `init(key) -> params`.
        rest: `rest(params, current) -> state`, the state before the first step; `current` has the shape and
            type of one step's input.
        step: `step(params, state, current) -> (state, output)`; the output is a spike of 0 or 1, or a membrane.
        unroll: `unroll(params, state, currents) -> (state, outputs)`, equal to scanning `step`, and with the
            same derivative, by a faster way.
        membrane: `membrane(state)`, what is drawn as the membrane potential.
        spikes: Whether the output is a spike.
        about: What it is, for interchange: its kind, constants and settings; and whether its outputs are `binary`,
            exactly 0 and 1, so that a network may keep them as booleans.
    """

    init: Callable[[PRNGKey], Params]
    rest: Callable[[Params, Any], State]
    step: Callable[[Params, State, Any], tuple[State, Any]]
    unroll: Callable[[Params, State, Any], tuple[State, Any]] | None = None
    membrane: Callable[[State], Any] = lambda state: jax.tree.leaves(state)[0]
    spikes: bool = True
    about: Mapping[str, Any] = MappingProxyType({"kind": "custom"})


def scan_unroll() -> int:
    """Steps of a time loop that are compiled into one: 1 on CPU, where more is slower in every measurement."""
    return 1 if jax.default_backend() == "cpu" else 8


def scan(neuron: Neuron, params: Params, state: State, currents: Any, *, remat: bool = True) -> tuple[State, Any]:
    """Run a neuron over time by its step alone, differentiated by plain autodiff.

    Args:
        neuron: The neuron.
        params: Its parameters.
        state: The state before the first step.
        currents: One current a step, time first, or a `Constant`.
        remat: Whether the backward pass recomputes what happens inside a step instead of storing it.

    Returns:
        The state after the last step, and the outputs with the time axis first.
    """
    step = jax.checkpoint(neuron.step) if remat else neuron.step

    def body(carry: State, current: Any) -> tuple[State, Any]:
        return step(params, carry, currents.value if isinstance(currents, Constant) else current)

    xs = None if isinstance(currents, Constant) else currents
    return jax.lax.scan(body, state, xs, length=length(currents), unroll=scan_unroll())
