r"""The integrate-and-fire family over time, with its adjoint derived by hand.

Forwards only the potentials are kept. The derivative with respect to the potential obeys one reverse scan that
is linear in the adjoint, whatever the reset,

$$\lambda_t = \psi(v_t - \vartheta)\, (g_t + \mu_{t+1} W^\top) + \frac{\partial v_{t+1}}{\partial v_t} \lambda_{t+1},
  \qquad \mu_t = \lambda_t + \alpha\, \mu_{t+1}, \qquad \frac{\partial L}{\partial x_t} = \mu_t,$$

with $g_t$ the derivative of the loss with respect to the spike, $\psi$ the surrogate derivative, $\alpha$ the
decay of the synaptic current ($\mu = \lambda$ without one) and $W$ the recurrent weights, where there are any. A
membrane that takes in a share $1 - \beta$ of its current multiplies $\lambda_t$ by it in $\mu_t$. The weights'
gradient $\sum_t s_{t-1}^\top \mu_t$ is one product after the scan. The input enters the membrane additively, so
that it need not be kept. `neuron.scan` of the same step is the oracle that the tests hold this to.

Where the reset leaves $\partial v_{t+1} / \partial v_t = \beta$ and the input is constant, each step adds on its
own and nothing is stored: the derivative is $\sum_t \mu_t = \sum_t \psi(v_t - \vartheta)\, g_t \sum_{k \le t} \beta^k$.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.spiking.membrane import Constants, Membrane
from chainlab.spiking.neuron import scan_unroll
from chainlab.spiking.sequences import Constant, Stepwise

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

    @property
    def only_decays(self) -> bool:
        """Whether a potential's derivative by the one before it is the decay, and no constant is differentiated."""
        reset = self.membrane.reset
        alike = reset == "none" or (reset == "subtract" and self.membrane.detach)
        return alike and not self.synapse and not self.learn


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
    cell: Cell, constants: Constants, weight: Weight | None, state: IFState, xs: Stepwise
) -> tuple[IFState, Array]:
    """Run a cell over time: the state after the last step, and the spikes.

    A recurrent cell takes no `Constant`: its input differs at every step anyway.
    """
    return _forward(cell, constants, weight, state, xs)[0]


def _forward(
    cell: Cell, constants: Constants, weight: Weight | None, state: IFState, xs: Stepwise
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
    if steps is not None and cell.only_decays and weight is None:
        at_start, total = _of_constant(cell, constants, kept["v"], at_end["v"], spike_cotangents)
        return (
            {name: jnp.zeros_like(value) for name, value in constants.items()},
            None,
            at_start,
            Constant(total, steps),
        )

    def advance(v: Array, learnt: Constants) -> Array:
        return cell.membrane.advance({**constants, **learnt}, v, jnp.zeros((), v.dtype))

    def fire(v: Array, learnt: Constants) -> Array:
        return cell.membrane.fire({**constants, **learnt}, v)

    def before(step: Array) -> IFState:
        """What is kept of the state that a step began with."""
        last = jnp.maximum(step - 1, 0)
        return {
            name: jnp.where(step > 0, jax.lax.dynamic_index_in_dim(array, last, keepdims=False), start[name])
            for name, array in kept.items()
        }

    def body(carry: tuple[Any, ...], inputs: tuple[Array, IFState, Array]) -> tuple[tuple[Any, ...], Array | None]:
        """From the adjoint of the state after a step to that of the state before it."""
        adjoint, gradients, total = carry
        step, after, spike = inputs
        state = before(step)
        if weight is not None:
            spike = spike + adjoint["spike"]
        through_spike, from_fire = jax.vjp(fire, after["v"], learnt)[1](spike)
        v = adjoint["v"] + through_spike
        x = (1 - constants["decay"]) * v if cell.normalize else v
        x = x + adjoint["current"] if cell.synapse else x
        through_time, from_advance = jax.vjp(advance, state["v"], learnt)[1](v)
        gradients = jax.tree.map(lambda *parts: sum(parts), gradients, from_fire, from_advance)
        if "synaptic_decay" in learnt:
            gradients["synaptic_decay"] += _sum_like(x * state["current"], constants["synaptic_decay"])
        if cell.normalize and "decay" in learnt:
            gradients["decay"] -= _sum_like(v * after["current"], constants["decay"])
        adjoint = {"v": through_time}
        if cell.synapse:
            adjoint["current"] = constants["synaptic_decay"] * x
        if weight is not None:
            adjoint["spike"] = x @ weight.T
        return (adjoint, gradients, total if steps is None else total + x), x if steps is None else None

    length = kept["v"].shape[0]
    carry = (at_end, jax.tree.map(jnp.zeros_like, learnt), None if steps is None else jnp.zeros_like(start["v"]))
    inputs = (jnp.arange(length, dtype=jnp.int32), kept, spike_cotangents)
    (at_start, gradients, total), adjoints = jax.lax.scan(body, carry, inputs, reverse=True, unroll=scan_unroll())
    gradients = {**{name: jnp.zeros_like(value) for name, value in constants.items()}, **gradients}
    if weight is None or adjoints is None:
        return gradients, None, at_start, adjoints if steps is None else Constant(total, steps)
    spikes = _fire_all(cell, constants, kept["v"])
    before_spikes = jnp.concatenate([start["spike"][None], spikes[:-1]])
    size = weight.shape[0]
    weight_gradient = before_spikes.reshape(-1, size).T @ adjoints.reshape(-1, size)
    return gradients, weight_gradient, at_start, adjoints


def _of_constant(
    cell: Cell, constants: Constants, v: Array, at_end: Array, spike_cotangents: Array
) -> tuple[IFState, Array]:
    """Adjoints of the state before the first step and of a constant input, where the adjoint only decays."""
    decay = constants["decay"][None] if constants["decay"].ndim else constants["decay"]
    powers = decay ** jnp.arange(v.shape[0], dtype=v.dtype).reshape(-1, *(1,) * (v.ndim - 1))
    of_input = jnp.cumsum((1 - decay) * powers if cell.normalize else powers, axis=0)
    responses = (decay * powers, of_input)  # of each potential: to the state before the first step, to the input

    def body(sums: tuple[Array, ...], inputs: tuple[Array, Array, tuple[Array, ...]]) -> tuple[tuple[Array, ...], None]:
        v, spike, responses = inputs
        (through_spike,) = jax.vjp(partial(cell.membrane.fire, constants), v)[1](spike)
        return tuple(total + r * through_spike for total, r in zip(sums, responses, strict=True)), None

    sums = tuple(response[-1] * at_end for response in responses)
    (at_start, total), _ = jax.lax.scan(body, sums, (v, spike_cotangents, responses), unroll=scan_unroll())
    return {"v": at_start}, total


def _fire_all(cell: Cell, constants: Constants, v: Array) -> Array:
    """The spikes of all steps at once."""
    threshold = constants["threshold"]
    return cell.membrane.fire({"threshold": threshold[None] if threshold.ndim else threshold}, v)


def _sum_like(x: Array, target: Array) -> Array:
    """Sum over the axes along which `target` was broadcast to the shape of `x`."""
    axes = tuple(axis for axis in range(x.ndim) if target.ndim == 0 or target.shape[axis] == 1)
    return jnp.sum(x, axis=axes).reshape(target.shape)


unroll_cell.defvjp(_forward, _backward)
