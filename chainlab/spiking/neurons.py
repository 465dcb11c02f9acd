"""Integrate-and-fire neurons and the leaky integrator."""

from collections.abc import Collection
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.spiking.adjoint import Cell, IFState, cell_step, unroll_cell
from chainlab.spiking.membrane import Membrane
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.sequences import Stepwise
from chainlab.spiking.surrogates import Shape, Surrogate, arctan
from chainlab.spiking.values import Value, Values
from chainlab.typing import Params

__all__ = ["current_lif", "integrate_and_fire", "leaky_integrator", "lif"]


def lif(
    size: int,
    *,
    decay: Value = 0.9,
    threshold: Value = 1.0,
    reset: str = "subtract",
    timing: str = "delayed",
    detach: bool = True,
    normalize: bool = False,
    surrogate: Surrogate | Shape = arctan,
    learn: Collection[str] = (),
    spread: float = 0.0,
    adjoint: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> Neuron:
    r"""Leaky integrate-and-fire, $v_t = \beta v_{t-1} + I_t - r_t$ and $s_t = H(v_t - \vartheta)$.

    Args:
        size: Number of neurons, or of channels where neurons lie on an image.
        decay: $\beta$, the decay of the potential in one step; `spiking.decay(tau, dt)` gives it.
        threshold: $\vartheta$.
        reset: `subtract` the threshold, to `zero`, or `none`.
        timing: When the reset acts; see `Membrane`.
        detach: Whether the reset is a constant to the derivative.
        normalize: Whether the potential takes in $1 - \beta$ of its current, so that a constant one settles at itself.
        surrogate: The spike as a function of the distance to the threshold.
        learn: Which of `decay` and `threshold` are parameters, one a neuron.
        spread: Standard deviation over neurons of the initial log time constants that are learnt.
        adjoint: Whether time is differentiated by the hand-derived adjoint (reverse mode only) or by autodiff.
        dtype: Type of the parameters.

    Returns:
        The neuron.

    Raises:
        UsageError: A constant is out of range or a mode unknown; names it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> neuron = lif(1, decay=0.5, threshold=1.0)
        >>> currents = jnp.full((4, 1), 0.75)
        >>> _, spikes = neuron.unroll({}, neuron.rest({}, currents[0]), currents)
        >>> spikes[:, 0].tolist()
        [0.0, 1.0, 0.0, 0.0]

    References:
        Neftci, Mostafa and Zenke, Surrogate Gradient Learning, arXiv:1901.09948, equations 3 and 4.
    """
    values = Values(size, {"decay": decay, "threshold": threshold}, learn, spread, dtype)
    membrane = Membrane(reset, timing, detach, surrogate)
    return _integrate_and_fire("lif", values, membrane, synapse=False, normalize=normalize, adjoint=adjoint)


def integrate_and_fire(
    size: int,
    *,
    threshold: Value = 1.0,
    reset: str = "subtract",
    timing: str = "delayed",
    detach: bool = True,
    surrogate: Surrogate | Shape = arctan,
    learn: Collection[str] = (),
    adjoint: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> Neuron:
    r"""Integrate-and-fire without a leak, $v_t = v_{t-1} + I_t - r_t$.

    Args:
        size: Number of neurons.
        threshold: $\vartheta$.
        reset: What a spike does to the potential.
        timing: When it does it.
        detach: Whether the reset is a constant to the derivative.
        surrogate: The spike as a function of the distance to the threshold.
        learn: `("threshold",)` to learn it.
        adjoint: Whether time is differentiated by the hand-derived adjoint.
        dtype: Type of the parameters.

    Returns:
        The neuron.

    Raises:
        UsageError: As for `lif`.
    """
    if "decay" in learn:
        raise UsageError("learn: an integrate-and-fire neuron has no decay to learn; choose threshold, or use lif")
    values = Values(size, {"decay": 1.0, "threshold": threshold}, learn, 0.0, dtype)
    membrane = Membrane(reset, timing, detach, surrogate)
    return _integrate_and_fire("if", values, membrane, synapse=False, normalize=False, adjoint=adjoint)


def current_lif(
    size: int,
    *,
    decay: Value = 0.9,
    synaptic_decay: Value = 0.8,
    threshold: Value = 1.0,
    reset: str = "subtract",
    timing: str = "delayed",
    detach: bool = True,
    normalize: bool = False,
    surrogate: Surrogate | Shape = arctan,
    learn: Collection[str] = (),
    spread: float = 0.0,
    adjoint: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> Neuron:
    r"""Current-based (synaptic) LIF, $i_t = \alpha i_{t-1} + x_t$ and $v_t = \beta v_{t-1} + i_t - r_t$.

    Args:
        size: Number of neurons.
        decay: $\beta$, the decay of the potential in one step.
        synaptic_decay: $\alpha$, the decay of the synaptic current in one step.
        threshold: $\vartheta$.
        reset: What a spike does to the potential.
        timing: When it does it.
        detach: Whether the reset is a constant to the derivative.
        normalize: Whether the potential takes in $1 - \beta$ of its current, so that a constant one settles at itself.
        surrogate: The spike as a function of the distance to the threshold.
        learn: Which of `decay`, `synaptic_decay` and `threshold` are parameters, one a neuron.
        spread: Standard deviation over neurons of the initial log time constants that are learnt.
        adjoint: Whether time is differentiated by the hand-derived adjoint.
        dtype: Type of the parameters.

    Returns:
        The neuron.

    Raises:
        UsageError: As for `lif`.

    References:
        Neftci, Mostafa and Zenke, arXiv:1901.09948, equations 4 and 5.
    """
    given = {"decay": decay, "synaptic_decay": synaptic_decay, "threshold": threshold}
    membrane = Membrane(reset, timing, detach, surrogate)
    values = Values(size, given, learn, spread, dtype)
    return _integrate_and_fire("current_lif", values, membrane, synapse=True, normalize=normalize, adjoint=adjoint)


def _integrate_and_fire(
    kind: str, values: Values, membrane: Membrane, *, synapse: bool, normalize: bool, adjoint: bool
) -> Neuron:
    cell = Cell(membrane, synapse, normalize, tuple(sorted(values.learn)))
    carried = membrane.timing == "carried" and membrane.reset != "none"
    # a learnt share of the input would need the input of every step kept, which autodiff does as well
    shared = normalize and not synapse and "decay" in values.learn
    by_hand = adjoint and not carried and not shared

    def rest(params: Params, current: Float[Array, "*batch dim"]) -> IFState:
        zeros = jnp.zeros(current.shape, current.dtype)
        return {"current": zeros, "v": zeros} if synapse else {"v": zeros}

    def step(params: Params, state: IFState, current: Float[Array, "*batch dim"]) -> tuple[IFState, Array]:
        return cell_step(cell, values.read(params, current), None, state, current)

    def unroll(params: Params, state: IFState, currents: Stepwise) -> tuple[IFState, Array]:
        return unroll_cell(cell, values.read(params, state["v"]), None, state, currents)

    # a spike function of the user's own need not give 0 and 1
    binary = by_hand and isinstance(membrane.surrogate, Surrogate)
    about: dict[str, Any] = {"kind": kind, "values": values, "cell": cell, "adjoint": by_hand, "binary": binary}
    return Neuron(
        values.init, rest, step, unroll if by_hand else None, lambda state: state["v"], True, MappingProxyType(about)
    )


def leaky_integrator(
    size: int,
    *,
    decay: Value = 0.9,
    normalize: bool = False,
    learn: Collection[str] = (),
    spread: float = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Neuron:
    r"""A leaky integrator, $v_t = \beta v_{t-1} + I_t$: a membrane that never fires, as a readout.

    Args:
        size: Number of units.
        decay: $\beta$, the decay in one step; 1 integrates without a leak.
        normalize: Whether it takes in $1 - \beta$ of its current, so that a constant one settles at itself.
        learn: `("decay",)` to learn it.
        spread: Standard deviation over units of the initial log time constant, where it is learnt.
        dtype: Type of the parameters.

    Returns:
        A neuron whose output is its membrane.

    Raises:
        UsageError: As for `lif`.

    Example:
        >>> layer = leaky_integrator(1, decay=0.5)
        >>> layer.step({}, jnp.ones(1), jnp.ones(1))[1].tolist()
        [1.5]
    """
    values = Values(size, {"decay": decay}, learn, spread, dtype)

    def rest(params: Params, current: Float[Array, "*batch dim"]) -> Array:
        return jnp.zeros(current.shape, current.dtype)

    def step(params: Params, state: Array, current: Float[Array, "*batch dim"]) -> tuple[Array, Array]:
        beta = values.read(params, current)["decay"]
        v = beta * state + ((1 - beta) * current if normalize else current)
        return v, v

    about = MappingProxyType({"kind": "leaky_integrator", "values": values, "normalize": normalize})
    return Neuron(values.init, rest, step, None, lambda state: state, False, about)
