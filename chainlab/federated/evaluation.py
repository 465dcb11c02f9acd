"""How well each client is served, by one model or by its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from chainlab.federated.clients import Clients
from chainlab.typing import Batch, Params


def evaluate_clients(
    measure: Callable[[Params, Batch], PyTree], params_of: Callable[[Int[Array, ""]], Params], clients: Clients
) -> PyTree:
    r"""The mean of a measure over each client's examples, $m_k = \frac{1}{n_k} \sum_{i \in k} m(w_k; x_i)$.

    Args:
        measure: `measure(params, batch)`: leaves (batch,), one value an example.
        params_of: The parameters that serve a client, by its number.
        clients: The examples, such as those that clients held out.

    Returns:
        Leaves (clients,); not a number for a client without examples.
    """

    def one(client: Int[Array, ""]) -> PyTree:
        batches = clients.of(client)
        params = params_of(client)
        shapes = jax.eval_shape(lambda: measure(params, batches.at(jnp.zeros((), jnp.int32))))

        def add(step: Int[Array, ""], total: PyTree) -> PyTree:
            batch = batches.at(step)
            found = measure(params, batch)
            return jax.tree.map(lambda t, leaf: t + jnp.sum(leaf.astype(jnp.float32) * batch["mask"]), total, found)

        zeros = jax.tree.map(lambda _: jnp.zeros((), jnp.float32), shapes)
        total = jax.lax.fori_loop(0, batches.count, add, zeros)
        return jax.tree.map(lambda leaf: leaf / batches.examples, total)

    return jax.lax.map(one, jnp.arange(clients.number, dtype=jnp.int32))


def worst_decile(values: Float[Array, " clients"]) -> Float[Array, ""]:
    """The mean over the tenth of the clients (one at least) that is served worst; clients without a value are left out.

    Args:
        values: A value a client, larger is better.

    Returns:
        The mean.

    Example:
        >>> float(worst_decile(jnp.arange(20.0)))
        0.5
    """
    ordered = jnp.sort(jnp.where(jnp.isnan(values), jnp.inf, values))
    count = jnp.maximum(jnp.sum(~jnp.isnan(values)) // 10, 1)
    return jnp.sum(jnp.where(jnp.arange(ordered.size) < count, ordered, 0)) / count.astype(values.dtype)
