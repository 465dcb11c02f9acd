"""Updates in fewer bytes: a code on the wire, and a client's memory of what it left out."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.federated.algorithms import Algorithm, Update
from chainlab.federated.clients import Batches
from chainlab.optim.compression import Compressor, compress, decompress, wire_bytes
from chainlab.optim.compression.compressor import tree_bytes
from chainlab.typing import Params, PRNGKey


def compressed(algorithm: Algorithm, compressor: Compressor, *, feedback: bool = True) -> Algorithm:
    r"""Send $C(\Delta_k + e_k)$ and keep $e_k' = \Delta_k + e_k - C(\Delta_k + e_k)$ until the client is asked again.

    Only `delta` is coded; what else clients send (control variates, step counts) travels as it is.

    Args:
        algorithm: The algorithm.
        compressor: The code of each leaf.
        feedback: Whether a client adds what it left out before; codes that are unbiased do without.

    Returns:
        The algorithm, whose `wire` counts the bytes of the code, indices and scales included.

    References:
        Karimireddy et al., Error Feedback Fixes SignSGD, arXiv:1901.09847, algorithm 2, on the clients of FedAvg.
    """

    def update(params: Params, shared: PyTree, memory: PyTree, batches: Batches, key: PRNGKey) -> Update:
        left, inner = memory
        work, code = jax.random.split(key)
        answer = algorithm.update(params, shared, inner, batches, work)
        wanted = answer.message["delta"]
        if feedback:
            mine = {name: left[name] for name in wanted} if isinstance(wanted, Mapping) else left
            wanted = jax.tree.map(jnp.add, wanted, mine)
        sent = decompress(compressor, compress(compressor, wanted, code), wanted)
        if feedback:  # layers that stay with the client are neither sent nor owed
            owed = jax.tree.map(jnp.subtract, wanted, sent)
            left = {**left, **owed} if isinstance(wanted, Mapping) else owed
        return answer._replace(message={**answer.message, "delta": sent}, memory=(left, answer.memory))

    def remember(params: Params) -> PyTree:
        return (jax.tree.map(jnp.zeros_like, params) if feedback else (), algorithm.memory(params))

    def wire(message: PyTree) -> int:
        rest = {name: leaf for name, leaf in message.items() if name != "delta"}
        return wire_bytes(compressor, message["delta"]) + tree_bytes(rest)

    return Algorithm(update, algorithm.combine, remember, algorithm.shared, wire)
