"""Neurons beyond leaky integration: an adaptive threshold, and Izhikevich's quadratic model."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.surrogates import Shape, Surrogate, arctan
from chainlab.spiking.values import Value, Values
from chainlab.typing import Params

State = dict[str, Array]


def adaptive_lif(
    size: int,
    *,
    decay: Value = 0.9,
    adaptation_decay: Value = 0.99,
    adaptation: Value = 0.1,
    threshold: Value = 1.0,
    detach: bool = True,
    surrogate: Surrogate | Shape = arctan,
    learn: Collection[str] = (),
    spread: float = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Neuron:
    r"""LIF with a threshold that rises with each spike and relaxes slowly (ALIF, the LSNN's neuron).

    $a_t = \rho a_{t-1} + s_{t-1}$, $v_t = \beta v_{t-1} + I_t - s_{t-1} \vartheta$ and
    $s_t = H(v_t - \vartheta - \kappa a_t)$.

    Args:
        size: Number of neurons.
        decay: $\beta$, the decay of the potential in one step.
        adaptation_decay: $\rho$, the decay of the adaptation in one step.
        adaptation: $\kappa$, how much a unit of adaptation raises the threshold.
        threshold: $\vartheta$, the threshold at rest.
        detach: Whether the reset of the potential is a constant to the derivative; the adaptation never is.
        surrogate: The spike as a function of the distance to the threshold.
        learn: Which of the constants are parameters, one a neuron.
        spread: Standard deviation over neurons of the initial log time constants that are learnt.
        dtype: Type of the parameters.

    Returns:
        The neuron.

    Raises:
        UsageError: A constant is out of range; names it.

    References:
        Bellec et al., A solution to the learning dilemma for recurrent networks of spiking neurons, Nature
        Communications 11, 2020, equations 6 to 8.
    """
    given = {"decay": decay, "adaptation_decay": adaptation_decay, "adaptation": adaptation, "threshold": threshold}
    values = Values(size, given, learn, spread, dtype)

    def rest(params: Params, current: Float[Array, "*batch dim"]) -> State:
        zeros = jnp.zeros(current.shape, current.dtype)
        return {"v": zeros, "adaptation": zeros}

    def step(params: Params, state: State, current: Float[Array, "*batch dim"]) -> tuple[State, Array]:
        constant = values.read(params, current)

        def fire(v: Array, adaptation: Array) -> Array:
            return surrogate(v - constant["threshold"] - constant["adaptation"] * adaptation)

        spike = fire(state["v"], state["adaptation"])
        adaptation = constant["adaptation_decay"] * state["adaptation"] + spike
        reset = jax.lax.stop_gradient(spike) if detach else spike
        v = constant["decay"] * state["v"] + current - reset * constant["threshold"]
        return {"v": v, "adaptation": adaptation}, fire(v, adaptation)

    about = MappingProxyType({"kind": "adaptive_lif", "values": values})
    return Neuron(values.init, rest, step, None, lambda state: state["v"], True, about)


izhikevich_kinds: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "regular_spiking": (0.02, 0.2, -65.0, 8.0),
        "intrinsically_bursting": (0.02, 0.2, -55.0, 4.0),
        "chattering": (0.02, 0.2, -50.0, 2.0),
        "fast_spiking": (0.1, 0.2, -65.0, 2.0),
        "low_threshold_spiking": (0.02, 0.25, -65.0, 2.0),
        "resonator": (0.1, 0.26, -65.0, 2.0),
    }
)
"""Izhikevich's constants (a in 1/ms, b, c in mV, d) of his figure 2, by name."""


def izhikevich(
    size: int,
    *,
    kind: str = "regular_spiking",
    dt: float = 0.5,
    detach: bool = True,
    surrogate: Surrogate | Shape = Surrogate("fast_sigmoid", scale=0.1),  # noqa: B008  an immutable value
) -> Neuron:
    r"""Izhikevich's neuron, by forward Euler with step `dt`.

    $\dot v = 0.04 v^2 + 5 v + 140 - u + I$, $\dot u = a (b v - u)$; when $v \ge 30$ mV it fires, $v \leftarrow c$
    and $u \leftarrow u + d$.

    Args:
        size: Number of neurons.
        kind: A key of `izhikevich_kinds`.
        dt: Length of a step, in ms.
        detach: Whether the reset is a constant to the derivative.
        surrogate: The spike as a function of $v - 30$ mV (hence the small scale).

    Returns:
        The neuron, without parameters; its currents are in the model's own unit.

    Raises:
        UsageError: The kind is unknown or `dt` not positive.

    References:
        Izhikevich, Simple model of spiking neurons, IEEE Transactions on Neural Networks 14, 2003, equations 1 to 3.
    """
    if kind not in izhikevich_kinds:
        raise UsageError(f"izhikevich: unknown kind {kind!r}; choose one of {', '.join(izhikevich_kinds)}")
    if not dt > 0:
        raise UsageError(f"dt must be a positive time, got {dt}")
    values = Values(size, {})
    a, b, c, d = izhikevich_kinds[kind]
    peak = 30.0

    def rest(params: Params, current: Float[Array, "*batch dim"]) -> State:
        v = jnp.full(current.shape, c, current.dtype)
        return {"v": v, "u": b * v}

    def step(params: Params, state: State, current: Float[Array, "*batch dim"]) -> tuple[State, Array]:
        values.read(params, current)
        fired = surrogate(state["v"] - peak)
        if detach:
            fired = jax.lax.stop_gradient(fired)
        v = state["v"] + fired * (c - state["v"])
        u = state["u"] + fired * d
        after = v + dt * (0.04 * v * v + 5.0 * v + 140.0 - u + current)
        # the quadratic explodes within a step or two of the peak: a spike is cut off at the peak's next step
        after = jnp.minimum(after, 2 * peak)
        return {"v": after, "u": u + dt * a * (b * v - u)}, surrogate(after - peak)

    about = MappingProxyType({"kind": "izhikevich", "values": values})
    return Neuron(values.init, rest, step, None, lambda state: state["v"], True, about)
