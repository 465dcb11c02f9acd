"""Recurrent connections from the spikes of a layer to its own input."""

from collections.abc import Callable
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.spiking.adjoint import IFState, cell_step, unroll_cell
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.sequences import Constant, Stepwise
from chainlab.typing import Params, PRNGKey, State


def recurrent(
    neuron: Neuron, size: int, *, weight_init: Initializer | None = None, dtype: DTypeLike = jnp.float32
) -> Neuron:
    r"""Feed the last output of a neuron back into its input, $I_t = x_t + s_{t-1} W$.

    Args:
        neuron: Any neuron with `size` outputs.
        size: Number of neurons.
        weight_init: Initialiser of `weight` (size, size); normal with variance `1 / size` by default.
        dtype: Type of `weight`.

    Returns:
        A neuron with parameters `neuron` and `weight`, and in its state the last spikes.

    Raises:
        UsageError: `size` is less than 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from chainlab import spiking
        >>> layer = spiking.recurrent(spiking.lif(3), 3)
        >>> params = layer.init(jax.random.key(0))
        >>> _, spikes = layer.unroll(params, layer.rest(params, jnp.zeros((2, 3))), jnp.ones((5, 2, 3)))
        >>> spikes.shape
        (5, 2, 3)
    """
    if size < 1:
        raise UsageError(f"recurrent: size must be at least 1, got {size}")
    weight_init = weight_init or jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")

    def init(key: PRNGKey) -> Params:
        neuron_key, weight_key = jax.random.split(key)
        return {"neuron": neuron.init(neuron_key), "weight": weight_init(weight_key, (size, size), dtype)}

    if neuron.about.get("adjoint"):
        return _recurrent_cell(neuron, init)

    def rest(params: Params, current: Float[Array, "*batch dim"]) -> State:
        return {"neuron": neuron.rest(params["neuron"], current), "spike": jnp.zeros(current.shape, current.dtype)}

    def step(params: Params, state: State, current: Float[Array, "*batch dim"]) -> tuple[State, Array]:
        inner, spike = neuron.step(params["neuron"], state["neuron"], current + state["spike"] @ params["weight"])
        return {"neuron": inner, "spike": spike}, spike

    about = MappingProxyType({"kind": "recurrent", "neuron": neuron})
    return Neuron(init, rest, step, None, lambda state: neuron.membrane(state["neuron"]), neuron.spikes, about)


def _recurrent_cell(neuron: Neuron, init: Callable[[PRNGKey], Params]) -> Neuron:
    """The integrate-and-fire family, whose hand-derived adjoint covers recurrent weights."""
    cell, values = neuron.about["cell"], neuron.about["values"]

    def rest(params: Params, current: Float[Array, "*batch dim"]) -> IFState:
        return {**neuron.rest(params["neuron"], current), "spike": jnp.zeros(current.shape, current.dtype)}

    def step(params: Params, state: IFState, current: Float[Array, "*batch dim"]) -> tuple[IFState, Array]:
        return cell_step(cell, values.read(params["neuron"], current), params["weight"], state, current)

    def unroll(params: Params, state: IFState, currents: Stepwise) -> tuple[IFState, Array]:
        xs = currents.expand() if isinstance(currents, Constant) else currents
        return unroll_cell(cell, values.read(params["neuron"], state["v"]), params["weight"], state, xs)

    about = MappingProxyType({"kind": "recurrent", "neuron": neuron, "binary": neuron.about["binary"]})
    return Neuron(init, rest, step, unroll, lambda state: state["v"], True, about)
