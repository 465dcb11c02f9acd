"""Personalisation: layers that a client keeps for itself, and fine-tuning of what it was sent."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.errors import UsageError
from chainlab.federated.algorithms import Algorithm, Update
from chainlab.federated.clients import Batches
from chainlab.typing import Params, PRNGKey


def _training(message: Mapping[str, PyTree]) -> Params:
    """The change that a client's training made: what it sends, times its steps where it sends a mean step (FedNova)."""
    if "steps" not in message:
        return message["delta"]
    return jax.tree.map(lambda leaf: leaf * message["steps"].astype(leaf.dtype), message["delta"])


def local_heads(algorithm: Algorithm, names: Sequence[str]) -> Algorithm:
    r"""Keep some layers on the clients: the others are learned together, these by each for itself.

    A client trains $(w, h_k)$, sends $\Delta w$ and keeps $h_k$ until it is asked again. The server's own copy of these
    layers stays as it was first.

    Args:
        algorithm: An algorithm whose clients send `delta`, and numbers beside it at most (not scaffold).
        names: First keys of the layers in the parameters, a mapping.

    Returns:
        The algorithm; a client's memory is its layers and the inner algorithm's memory.

    Raises:
        UsageError: No name is given; on the first call, a name is not there or the clients send more.

    References:
        Arivazhagan et al., Federated Learning with Personalization Layers, arXiv:1912.00818, algorithm 1.
    """
    if not names:
        raise UsageError("local_heads: wanted the name of a layer, got none")

    def own(params: Params) -> Params:
        absent = [name for name in names if name not in params]
        if absent or len(names) == len(params):
            raise UsageError(f"local_heads: wanted some of {sorted(params)}, not all, got {list(names)}")
        return {name: params[name] for name in names}

    def update(params: Params, shared: PyTree, memory: PyTree, batches: Batches, key: PRNGKey) -> Update:
        heads, inner = memory
        answer = algorithm.update({**params, **heads}, shared, inner, batches, key)
        if set(answer.message) - {"delta", "steps"}:
            raise UsageError(f"local_heads: wanted clients that send `delta`, got {sorted(answer.message)}")
        kept = jax.tree.map(jnp.add, heads, own(_training(answer.message)))
        delta = answer.message["delta"]
        message = {**answer.message, "delta": {name: leaf for name, leaf in delta.items() if name not in names}}
        return answer._replace(message=message, memory=(kept, answer.memory))

    return Algorithm(
        update,
        algorithm.combine,
        lambda params: (own(params), algorithm.memory(params)),
        algorithm.shared,
        algorithm.wire,
    )


def fine_tune(
    algorithm: Algorithm, params: Params, shared: PyTree, memory: PyTree, batches: Batches, key: PRNGKey
) -> Params:
    """A client's own parameters: those of the server after its local training, which it keeps for itself.

    Args:
        algorithm: How it trains.
        params: The server's parameters.
        shared: What the server sends beside them.
        memory: The client's memory.
        batches: The client's batches.
        key: Randomness of its local steps.

    Returns:
        The client's parameters; layers of `local_heads` are its own.
    """
    answer = algorithm.update(params, shared, memory, batches, key)
    delta = _training(answer.message)
    if isinstance(delta, dict) and set(delta) != set(params):
        heads = answer.memory[0]
        return {**{name: jax.tree.map(jnp.add, params[name], delta[name]) for name in delta}, **heads}
    return jax.tree.map(jnp.add, params, delta)
