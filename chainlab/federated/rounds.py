"""One round: the cohort's updates, their mean, and the server's step."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, PyTree

from chainlab.errors import UsageError
from chainlab.federated.algorithms import Algorithm, Update
from chainlab.federated.cohorts import Cohort
from chainlab.federated.interpreters import Interpreter, ragged
from chainlab.federated.privacy import Privacy, add_noise, clip
from chainlab.optim.compression.compressor import tree_bytes
from chainlab.typing import Metrics, Params, PRNGKey


@struct.dataclass
class ServerState:
    """All that survives a round.

    Attributes:
        params: The server's parameters.
        optimizer: State of the server's optimiser.
        shared: What the server sends beside the parameters.
        memory: What each client keeps, along a leading axis of clients.
        round: Rounds so far.
    """

    params: Params
    optimizer: optax.OptState
    shared: PyTree
    memory: PyTree
    round: PyTree


def start(algorithm: Algorithm, optimizer: optax.GradientTransformation, params: Params, clients: int) -> ServerState:
    """The state before the first round.

    Args:
        algorithm: The algorithm.
        optimizer: The server's optimiser.
        params: Initial parameters.
        clients: Number of clients.

    Returns:
        The state.
    """
    memory = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], clients, axis=0), algorithm.memory(params))
    return ServerState(params, optimizer.init(params), algorithm.shared(params), memory, jnp.zeros((), jnp.int32))


Step = Callable[[Any, Cohort, PRNGKey], tuple[Any, Metrics]]
"""`step(state, cohort, key) -> (state, metrics)`, where the state is a `ServerState` or one that extends it."""


def federate(
    algorithm: Algorithm,
    optimizer: optax.GradientTransformation,
    *,
    interpret: Interpreter = ragged,
    privacy: Privacy | None = None,
    last: int | None = None,
) -> Step:
    r"""A round as the step of a task: $w \leftarrow w + u(-\sum_k n_k \Delta_k / \sum_k n_k)$, $u$ an optax update.

    The sums are over the clients that answer and are accepted. An update whose norm is not finite, or of a client
    without data, is rejected and counted in the metrics; the round goes on without it. A round in which nobody is
    accepted changes nothing. With privacy, updates are clipped to norm $C$ and weigh alike, and the mean is
    $(\sum_k \Delta_k + z C N(0, I)) / (q N)$, whoever answers.

    Args:
        algorithm: What clients compute and how the server combines it.
        optimizer: The server's optimiser; `optax.sgd(1.0)` takes the mean update as it is.
        interpret: How the clients' work is run.
        privacy: Clipping and noise. Its rate must be that of the sampling.
        last: After this round nothing changes any more: the privacy budget is spent.

    Returns:
        `step(state, cohort, key) -> (state, metrics)`. Metrics: `loss` (mean of the clients' local losses by weight; 0
        in a round without a client), `worst_loss` (90th percentile over clients), `drift_cosine` (mean cosine between
        two clients' updates), `clients` (accepted), `rejected_nonfinite`, `rejected_empty`, `bytes_up`, `bytes_down`.

    Raises:
        UsageError: On the first call, when privacy meets an algorithm whose clients send more than `delta`.
    """

    def work(inputs: tuple[ServerState, Cohort, PRNGKey], slot: Any) -> tuple[PyTree, PyTree]:
        state, cohort, key = inputs
        client = cohort.ids[slot]
        batches = cohort.clients.of(client)
        memory = jax.tree.map(lambda leaf: leaf[client], state.memory)
        answer = algorithm.update(state.params, state.shared, memory, batches, jax.random.fold_in(key, client))
        return contribute(answer, memory, full=batches.count > 0, privacy=privacy)

    def step(state: ServerState, cohort: Cohort, key: PRNGKey) -> tuple[ServerState, Metrics]:
        work_key, noise_key = jax.random.split(key)
        steps = cohort.clients.count[cohort.ids]
        sums, rows = interpret(work, (state, cohort, work_key), steps, cohort.active)
        after, go = advance(
            algorithm, optimizer, state, sums, cohort.clients.number, privacy=privacy, key=noise_key, last=last
        )
        memory = _remember(state.memory, rows["memory"], cohort, go)
        metrics = measure(algorithm, state, sums, rows, cohort)
        return after.replace(memory=memory), metrics  # pyright: ignore[reportAttributeAccessIssue]

    return step


def advance(
    algorithm: Algorithm,
    optimizer: optax.GradientTransformation,
    state: ServerState,
    sums: PyTree,
    clients: int,
    *,
    privacy: Privacy | None = None,
    key: PRNGKey | None = None,
    last: int | None = None,
) -> tuple[ServerState, Bool[Array, ""]]:
    """The server's part of a round, from the sums over its clients; the same on one machine and over a network.

    Args:
        algorithm: How the mean message becomes an update.
        optimizer: The server's optimiser.
        state: Before the round.
        sums: The sum of what `contribute` returned for each client.
        clients: Number of all clients.
        privacy: Noise, with `key`.
        key: Draws the noise.
        last: After this round nothing changes any more.

    Returns:
        The state after the round with the clients' memories as they were, and whether anything changed.

    Raises:
        UsageError: Privacy meets an algorithm whose clients send more than `delta`.
    """
    message, weight, accepted = sums["message"], sums["weight"], sums["accepted"]
    if privacy:
        if set(message) != {"delta"} or key is None:
            raise UsageError(
                "privacy: the noise is scaled to clients that send `delta` alone, got "
                f"{', '.join(sorted(message))}; use fedsgd, fedavg or fedprox"
            )
        message = add_noise(message, privacy.noise_multiplier * privacy.clip, key)
        weight = jnp.asarray(privacy.rate * clients, weight.dtype)
    delta, shared = algorithm.combine(state.shared, _divide(message, weight), accepted / clients)
    if isinstance(state.params, Mapping):  # what no client sends, stays
        absent = {name: leaf for name, leaf in state.params.items() if name not in delta}
        delta = {**delta, **jax.tree.map(jnp.zeros_like, absent)}
    updates, inner = optimizer.update(jax.tree.map(jnp.negative, delta), state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    # Whether anybody answered is itself private: with privacy the noise goes in either way.
    go = jnp.asarray(True) if privacy else accepted > 0
    if last is not None:
        go = go & (state.round < last)
    kept = (state.params, state.optimizer, state.shared)
    params, inner, shared = jax.tree.map(lambda new, old: jnp.where(go, new, old), (params, inner, shared), kept)
    return ServerState(params, inner, shared, state.memory, state.round + 1), go


def _finite(tree: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def _divide(tree: PyTree, by: Float[Array, ""]) -> PyTree:
    """A tree over a weight; zero over zero is zero."""
    return jax.tree.map(lambda leaf: leaf / jnp.maximum(by, jnp.finfo(by.dtype).tiny).astype(leaf.dtype), tree)


def contribute(
    answer: Update, memory: PyTree, *, full: Bool[Array, ""] | bool = True, privacy: Privacy | None = None
) -> tuple[PyTree, PyTree]:
    """What one client adds to the round's sums, and its row; nothing of a rejected answer gets through.

    Args:
        answer: What the client computed.
        memory: What it kept before.
        full: Whether it has data.
        privacy: Clipping; answers then weigh alike.

    Returns:
        Its part of the sums, and its row: `memory`, `loss` and whether it was `accepted`.
    """
    full = jnp.asarray(full)
    length = optax.tree.norm(answer.message["delta"])  # one pass tells both its size and whether it is finite
    rest = {name: part for name, part in answer.message.items() if name != "delta"}
    finite = _finite((length, rest, answer.weight, answer.metrics["loss"]))
    accepted = full & finite

    def guard(tree: PyTree, instead: PyTree) -> PyTree:
        return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), tree, instead)

    message = guard(answer.message, jax.tree.map(jnp.zeros_like, answer.message))
    norm = jnp.where(accepted, length, 0).astype(jnp.float32)
    if privacy:
        message, norm = clip(message, privacy.clip), jnp.minimum(norm, privacy.clip)
    weight = guard(jnp.ones_like(answer.weight) if privacy else answer.weight, jnp.zeros_like(answer.weight))
    loss = guard(answer.metrics["loss"], jnp.zeros_like(answer.metrics["loss"]))
    summed = {
        "message": jax.tree.map(lambda leaf: leaf * weight.astype(leaf.dtype), message),
        "weight": weight,
        "loss": weight * loss,
        "accepted": accepted.astype(jnp.float32),
        "empty": (~full).astype(jnp.float32),
        "nonfinite": (full & ~finite).astype(jnp.float32),
        "moved": (norm > 0).astype(jnp.float32),
        "direction": _divide(message["delta"], norm),
    }
    return summed, {"memory": guard(answer.memory, memory), "loss": loss, "accepted": accepted.astype(jnp.int32)}


def _remember(memory: PyTree, rows: PyTree, cohort: Cohort, go: Bool[Array, ""]) -> PyTree:
    """Every client's memory after the round; clients that did not answer keep theirs."""

    def write(old: Array, new: Array) -> Array:
        answered = (cohort.active & go).reshape(-1, *[1] * (new.ndim - 1))
        return old.at[cohort.ids].set(jnp.where(answered, new, old[cohort.ids]))

    return jax.tree.map(write, memory, rows)


def measure(algorithm: Algorithm, state: ServerState, sums: PyTree, rows: PyTree, cohort: Cohort) -> Metrics:
    """The figures of a round; see `federate`.

    Args:
        algorithm: Counts the bytes of a message.
        state: Before the round.
        sums: What the clients contributed.
        rows: What was kept of each.
        cohort: The round's clients.

    Returns:
        The metrics.
    """
    accepted = sums["accepted"]
    # The mean cosine over pairs of unit vectors: |sum u|^2 = m + 2 * (sum over pairs), so no update is stored.
    moved = sums["moved"]
    pairs = moved * (moved - 1)
    cosine = (jnp.square(optax.tree.norm(sums["direction"]).astype(jnp.float32)) - moved) / jnp.maximum(pairs, 1)
    losses = jnp.where(rows["accepted"] > 0, rows["loss"], jnp.nan)
    answered = jnp.sum(cohort.active, dtype=jnp.float32)
    sent = state.params
    if isinstance(sent, Mapping):  # what clients keep for themselves does not travel either way
        sent = {name: sent[name] for name in sums["message"]["delta"]}
    return {
        "loss": _divide(sums["loss"], sums["weight"]),
        "worst_loss": jnp.where(accepted > 0, jnp.nanpercentile(losses, 90), 0.0),
        "drift_cosine": jnp.where(pairs > 0, cosine, 0.0),
        "clients": accepted,
        "rejected_nonfinite": sums["nonfinite"],
        "rejected_empty": sums["empty"],
        "bytes_up": answered * float(algorithm.wire(sums["message"])),
        "bytes_down": answered * float(tree_bytes((sent, state.shared))),
    }
