r"""The integrate-and-fire family over time, with its adjoint derived by hand.

Forwards only the potentials are kept. The derivative with respect to the potential obeys one reverse scan that
is linear in the adjoint, whatever the reset,

$$\lambda_t = \psi(v_t - \vartheta)\, (g_t + \mu_{t+1} W^\top) + \frac{\partial v_{t+1}}{\partial v_t} \lambda_{t+1},
  \qquad \mu_t = \lambda_t + \alpha\, \mu_{t+1}, \qquad \frac{\partial L}{\partial x_t} = \mu_t,$$

(times $1 - \beta$ where the membrane takes in that share of its input) with $g_t$ the derivative of the loss with respect to the spike, $\psi$ the surrogate derivative, $\alpha$ the
decay of the synaptic current ($\mu = \lambda$ without one) and $W$ the recurrent weights, where there are any. A
membrane that takes in a share $1 - \beta$ of its current multiplies $\lambda_t$ by it in $\mu_t$. The weights'
gradient $\sum_t s_{t-1}^\top \mu_t$ is one product after the scan. The input enters the membrane additively, so
that it need not be kept. `neuron.scan` of the same step is the oracle that the tests hold this to.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.spiking.membrane import Constants, Membrane
from chainlab.spiking.neuron import scan_unroll
from chainlab.spiking.sequences import Constant, Sequence

IFState = dict[str, Array]
Weight = Float[Array, "dim dim"]


@dataclass(frozen=True)
class Cell:
    r"""What one neuron is made of.

    Attributes:
        membrane: Its leak, threshold and reset.
        synapse: Whether a synaptic current filters its input.
        normalize: Whether the membrane takes in $1 - \beta$ of its current, so that a constant one settles at itself.
        learn: Which constants are differentiated.
    """

    membrane: Membrane
    synapse: bool
    normalize: bool
    learn: tuple[str, ...]


def cell_step(
    cell: Cell, constants: Constants, weight: Weight | None, state: IFState, x: Array
) -> tuple[IFState, Array]:
    """One step of a cell: the state after it, and the spike."""
    after: IFState = {}
    if weight is not None:
        x = x + state["spike"] @ weight
    if cell.synapse:
        x = after["current"] = constants["synaptic_decay"] * state["current"] + x
    if cell.normalize:
        x = (1 - constants["decay"]) * x
    after["v"], spike = cell.membrane.step(constants, state["v"], x)
    if weight is not None:
        after["spike"] = spike
    return after, spike


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def unroll_cell(
    cell: Cell, constants: Constants, weight: Weight | None, state: IFState, xs: Sequence
) -> tuple[IFState, Array]:
    """Run a cell over time: the state after the last step, and the spikes.

    A recurrent cell takes no `Constant`: its input differs at every step anyway.
    """
    return _forward(cell, constants, weight, state, xs)[0]


def _forward(
    cell: Cell, constants: Constants, weight: Weight | None, state: IFState, xs: Sequence
) -> tuple[tuple[IFState, Array], tuple[Any, ...]]:
    steps = xs.steps if isinstance(xs, Constant) else None
    keep_current = cell.synapse and ("synaptic_decay" in cell.learn or (cell.normalize and "decay" in cell.learn))

    def body(carry: IFState, x: Array | None) -> tuple[IFState, dict[str, Array]]:
        current = xs.value if isinstance(xs, Constant) else x
        assert current is not None
        carry, _ = cell_step(cell, constants, weight, carry, current)
        return carry, {name: carry[name] for name in (("v", "current") if keep_current else ("v",))}

    inputs = None if isinstance(xs, Constant) else xs
    last, kept = jax.lax.scan(body, state, inputs, length=steps, unroll=scan_unroll())
    spikes = _fire_all(cell, constants, kept["v"])
    return (last, spikes), (constants, weight, state, kept, steps)


def _backward(cell: Cell, residuals: tuple[Any, ...], cotangents: tuple[IFState, Array]) -> tuple[Any, ...]:
    constants, weight, start, kept, steps = residuals
    at_end, spike_cotangents = cotangents
    learnt = {name: constants[name] for name in cell.learn}

    def advance(v: Array, learnt: Constants) -> Array:
        return cell.membrane.advance({**constants, **learnt}, v, jnp.zeros((), v.dtype))

    def fire(v: Array, learnt: Constants) -> Array:
        return cell.membrane.fire({**constants, **learnt}, v)

    def pull_step(after: IFState, state: IFState, gradients: dict[str, Array]) -> tuple[IFState, dict[str, Array]]:
        """From the adjoints of the next step's input and potential to those of this step's state."""
        v, from_advance = jax.vjp(advance, state["v"], learnt)[1](after["v"])
        gradients = jax.tree.map(jnp.add, gradients, from_advance)
        adjoint = {"v": v}
        if cell.synapse:
            adjoint["current"] = constants["synaptic_decay"] * after["input"]
        if "synaptic_decay" in learnt:
            product = after["input"] * state["current"]
            gradients["synaptic_decay"] += _sum_like(product, constants["synaptic_decay"])
        if weight is not None:
            adjoint["spike"] = after["input"] @ weight.T
        return adjoint, gradients

    def body(carry: tuple[Any, ...], inputs: tuple[IFState, Array]) -> tuple[tuple[Any, ...], Array | None]:
        after, extra, gradients, total = carry
        state, spike_cotangent = inputs
        adjoint, gradients = pull_step(after, state, gradients)
        adjoint = jax.tree.map(jnp.add, adjoint, extra)
        spike = spike_cotangent + adjoint["spike"] if weight is not None else spike_cotangent
        through_spike, from_fire = jax.vjp(fire, state["v"], learnt)[1](spike)
        gradients = jax.tree.map(jnp.add, gradients, from_fire)
        v = adjoint["v"] + through_spike
        x = (1 - constants["decay"]) * v if cell.normalize else v
        if cell.normalize and "decay" in learnt:
            gradients["decay"] -= _sum_like(v * state["current"], constants["decay"])
        x = x + adjoint["current"] if cell.synapse else x
        extra = jax.tree.map(jnp.zeros_like, extra)
        if steps is None:
            return ({"v": v, "input": x}, extra, gradients, total), x
        return ({"v": v, "input": x}, extra, gradients, total + x), None

    zero = jnp.zeros_like(start["v"])
    carry = ({"v": zero, "input": zero}, at_end, jax.tree.map(jnp.zeros_like, learnt), zero)
    (after, _, gradients, total), adjoints = jax.lax.scan(
        body, carry, (kept, spike_cotangents), reverse=True, unroll=scan_unroll()
    )
    start_adjoint, gradients = pull_step(after, start, gradients)
    gradients = {**{name: jnp.zeros_like(value) for name, value in constants.items()}, **gradients}
    if weight is None or adjoints is None:
        return gradients, None, start_adjoint, adjoints if steps is None else Constant(total, steps)
    spikes = _fire_all(cell, constants, kept["v"])
    before = jnp.concatenate([start["spike"][None], spikes[:-1]])
    size = weight.shape[0]
    weight_gradient = before.reshape(-1, size).T @ adjoints.reshape(-1, size)
    return gradients, weight_gradient, start_adjoint, adjoints


def _fire_all(cell: Cell, constants: Constants, v: Array) -> Array:
    """The spikes of all steps at once."""
    threshold = constants["threshold"]
    return cell.membrane.fire({"threshold": threshold[None] if threshold.ndim else threshold}, v)


def _sum_like(x: Array, target: Array) -> Array:
    """Sum over the axes along which `target` was broadcast to the shape of `x`."""
    axes = tuple(axis for axis in range(x.ndim) if target.ndim == 0 or target.shape[axis] == 1)
    return jnp.sum(x, axis=axes).reshape(target.shape)


unroll_cell.defvjp(_forward, _backward)
