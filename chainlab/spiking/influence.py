"""Real-time recurrent learning by brute force: the oracle of the other rules."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from chainlab.spiking.objective import of_network
from chainlab.spiking.sequences import Constant, first, length, stepwise
from chainlab.typing import Batch, Gradient, Metrics, Params, PRNGKey


def rtrl(objective: Any) -> Gradient:
    r"""The gradient by carrying every state's derivative with respect to every parameter forwards in time.

    $J_t = \frac{\partial h_t}{\partial h_{t-1}} J_{t-1} + \frac{\partial h_t}{\partial \theta}$. It uses the
    neurons' single steps alone, and forward mode, so that it shares nothing with the adjoints and the reverse
    mode of `bptt`; it costs states x parameters and is meant for networks of a few neurons.

    Args:
        objective: Of a spiking network.

    Returns:
        The gradient, equal to that of `bptt`.

    References:
        Williams and Zipser, A Learning Algorithm for Continually Running Fully Recurrent Neural Networks, Neural
        Computation 1, 1989, equation 4.
    """
    spiking = of_network(objective, "rtrl")
    network, loss = spiking.network, spiking.loss

    def run(params: Params, batch: Batch, key: PRNGKey) -> tuple[tuple[Array, Metrics], Params]:
        inputs, labels = spiking.read(batch, key)
        xs = stepwise(inputs)
        flat, unravel = ravel_pytree(params)
        basis = jnp.eye(flat.size, dtype=flat.dtype)
        rest = network.rest(params, first(xs))
        state, outputs = jax.eval_shape(network.step, params, rest, first(xs))
        zeros = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in outputs.items()}
        counts = {name: zeros[name] for name in state if network.layers[name].spikes}  # pyright: ignore
        start = (rest, loss.start(zeros[network.last], labels), counts)

        def advance(flat: Array, carry: Any, x: Array) -> Any:
            state, folded, counts = carry
            state, outputs = network.step(unravel(flat), state, x)
            folded = loss.fold(folded, outputs[network.last][None], labels)
            return state, folded, {name: count + outputs[name] for name, count in counts.items()}

        def body(carry: tuple[Any, Any], x: Array | None) -> tuple[tuple[Any, Any], None]:
            value, influence = carry
            at: Any = xs.value if isinstance(xs, Constant) else x

            def along(direction: Array, tangent: Any) -> Any:
                return jax.jvp(lambda flat, value: advance(flat, value, at), (flat, value), (direction, tangent))[1]

            return (advance(flat, value, at), jax.vmap(along)(basis, influence)), None  # pyright: ignore

        influence = jax.tree.map(lambda leaf: jnp.zeros((flat.size, *leaf.shape), leaf.dtype), start)
        scanned = None if isinstance(xs, Constant) else xs
        (value, influence), _ = jax.lax.scan(body, (start, influence), scanned, length=length(xs))

        def finish(value: Any) -> tuple[Array, Metrics]:
            _, folded, counts = value
            return spiking.finish(folded, counts, length(xs), labels)

        gradient = jax.vmap(lambda tangent: jax.jvp(lambda v: finish(v)[0], (value,), (tangent,))[1])(influence)
        return finish(value), unravel(gradient)

    return run
