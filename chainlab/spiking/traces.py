"""Online rules with one trace an input, as cheap as the forward pass and flat in time: the exact trace, and OTTT."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainlab.errors import UsageError
from chainlab.spiking.blocks import Block, Step, blocks_of, online, presynaptic, split_weights
from chainlab.spiking.eligibility import add, outer
from chainlab.spiking.objective import of_network
from chainlab.typing import Batch, Gradient, Metrics, Params, PRNGKey, State


def online_trace(objective: Any) -> Gradient:
    r"""The exact gradient of one layer of neurons by a presynaptic trace, $\frac{dE}{dW} = \sum_t \epsilon_t^\top
    (\psi_t \odot g_t)$ with $\epsilon_t = \beta \epsilon_{t-1} + x_t$.

    Exact where the state's derivative is the same for all neurons of the layer: a fixed decay and a detached
    subtractive reset, or none. It stores batch x inputs, whatever the number of steps.

    Args:
        objective: Of one dense layer with neurons, and a stateless readout or none.

    Returns:
        The gradient, equal to that of `bptt`.

    Raises:
        UsageError: The network is not one for which it is exact; says what is not (`ottt` is its approximation
            for deeper networks, `eprop` that for other neurons).

    References:
        Xiao et al., Online Training Through Time, arXiv:2210.04195, equation 7 (of one layer it is exact).
    """  # noqa: D205
    return _traces(objective, "online_trace", exact=True)


def ottt(objective: Any) -> Gradient:
    r"""Online training through time: every layer's presynaptic traces, and learning signals of the same step.

    $\frac{dE}{dW_\ell} = \sum_t \hat a_{\ell-1,t}^\top\, \frac{\partial E_t}{\partial u_{\ell,t}}$ with $\hat a_t =
    \beta \hat a_{t-1} + s_t$. It leaves out how a spike changes the later potentials of the layers above, and is
    exact for the last layer with neurons.

    Args:
        objective: Of dense layers and integrate-and-fire neurons in turn, with fixed decays and a detached
            subtractive reset, or none.

    Returns:
        The gradient.

    Raises:
        UsageError: The network is not of that form; says what is not.

    References:
        Xiao et al., Online Training Through Time for Spiking Neural Networks, arXiv:2210.04195, equations 7 to 10.
    """
    return _traces(objective, "ottt", exact=False)


def _traces(objective: Any, rule: str, *, exact: bool) -> Gradient:
    spiking = of_network(objective, rule)

    def run(params: Params, batch: Batch, key: PRNGKey) -> tuple[tuple[Array, Metrics], Params]:
        blocks = blocks_of(spiking, params, rule)
        _refuse(blocks, rule, exact)

        def start(params: Params, state: State, currents: dict[str, Array]) -> Any:
            del state

            def zeros(block: Block) -> Array:
                like, weights = currents[block.weights], params[block.weights]
                return jnp.zeros((*like.shape[:-1], weights["weight"].shape[0] + ("bias" in weights)), like.dtype)

            return {block.neuron: (zeros(block), zeros(block)) for block in blocks if block.neuron}

        def update(params: Params, traces: Any, step: Step) -> tuple[Any, Params]:
            gradient = jax.tree.map(jnp.zeros_like, params)
            after: dict[str, Any] = {}
            for block in blocks:
                inputs, signal = presynaptic(params, block, step), step.signals[block.weights]
                if block.neuron is not None and block.layer is not None:
                    layer, name = block.layer, block.neuron
                    given = layer.about["values"].given
                    current, potential = traces[name]
                    current = given.get("synaptic_decay", 0.0) * current + inputs
                    inputs = given["decay"] * potential + current
                    after[name] = (current, inputs)
                    at = step.currents[block.weights]
                    _, pull = jax.vjp(lambda x, layer=layer, name=name: layer.step({}, step.before[name], x)[1], at)
                    (signal,) = pull(signal)
                add(gradient, split_weights(params, block, outer(inputs, signal)))
            return after, gradient

        return online(spiking, blocks, start, update)(params, batch, key)

    return run


def _refuse(blocks: list[Block], rule: str, exact: bool) -> None:
    stateful = [block for block in blocks if block.layer is not None]
    for block in stateful:
        layer = block.layer
        assert layer is not None
        about = layer.about
        if about["kind"] not in ("lif", "if", "current_lif", "leaky_integrator"):
            raise UsageError(f"{rule}: {block.neuron!r} is a {about['kind']} neuron; use eprop")
        values = about["values"]
        if values.learn or any(jnp.ndim(value) for name, value in values.given.items() if name.endswith("decay")):
            raise UsageError(f"{rule}: {block.neuron!r} must have one fixed decay for all neurons; use eprop")
        if about.get("normalize") or ("cell" in about and about["cell"].normalize):
            raise UsageError(f"{rule}: {block.neuron!r} must not normalize its current; use eprop")
        if "cell" in about:
            membrane = about["cell"].membrane
            if membrane.reset == "zero" or (membrane.reset == "subtract" and not membrane.detach):
                raise UsageError(
                    f"{rule}: {block.neuron!r} must have a detached subtractive reset, or none, got "
                    f"reset={membrane.reset!r}, detach={membrane.detach}; use eprop"
                )
            if membrane.timing == "carried" and membrane.reset != "none":
                raise UsageError(f"{rule}: {block.neuron!r} must have a delayed or immediate reset; use eprop")
    if exact and len(stateful) != 1:
        raise UsageError(f"{rule} is exact for one layer with state, got {len(stateful)}; use ottt, eprop or bptt")
