"""Asynchronous rounds (FedBuff): the server steps whenever its buffer is full, on updates from older parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int, PyTree

from chainlab.errors import UsageError
from chainlab.federated.algorithms import Algorithm
from chainlab.federated.cohorts import Cohort
from chainlab.federated.interpreters import Interpreter, ragged
from chainlab.federated.rounds import ServerState, Step, advance, contribute, measure, start
from chainlab.typing import Metrics, Params, PRNGKey


@struct.dataclass
class BufferedState(ServerState):
    """The state of asynchronous rounds.

    Attributes:
        history: The parameters before each of the last server steps, along a leading axis of the window.
    """

    history: PyTree = None


def start_buffered(
    algorithm: Algorithm, optimizer: optax.GradientTransformation, params: Params, clients: int, *, window: int
) -> BufferedState:
    """The state before the first asynchronous round.

    Args:
        algorithm: The algorithm.
        optimizer: The server's optimiser.
        params: Initial parameters.
        clients: Number of clients.
        window: Versions of the parameters that are in use at once: an answer is at most `window - 1` steps late.

    Returns:
        The state.

    Raises:
        UsageError: The window is less than 1, or the algorithm's clients keep a memory.
    """
    if window < 1:
        raise UsageError(f"buffered rounds: wanted a window >= 1, got {window}")
    state = start(algorithm, optimizer, params, clients)
    if jax.tree.leaves(state.memory):
        raise UsageError("buffered rounds: wanted clients that keep nothing, as in fedavg and fedprox")
    history = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], window, axis=0), params)
    return BufferedState(state.params, state.optimizer, state.shared, state.memory, state.round, history)


def staleness(key: PRNGKey, answers: int, window: Int[Array, ""]) -> Int[Array, " answers"]:
    """How many server steps ago each answer of a buffer began, uniform on 0, ..., window - 1.

    Args:
        key: Draws them.
        answers: Answers in the buffer.
        window: Versions of the parameters there are.

    Returns:
        The staleness of each.
    """
    return jnp.floor(jax.random.uniform(key, (answers,)) * window.astype(jnp.float32)).astype(jnp.int32)


def federate_buffered(
    algorithm: Algorithm, optimizer: optax.GradientTransformation, *, interpret: Interpreter = ragged
) -> Step:
    r"""A full buffer as a step: $w \leftarrow w + u(-\frac{1}{K} \sum_k s(\tau_k) \Delta_k(w_{t - \tau_k}))$.

    $s(\tau) = (1 + \tau)^{-1/2}$, and the cohort is the buffer. Answers are up to `window - 1` server steps late (see
    `start_buffered`).

    Args:
        algorithm: An algorithm whose clients send `delta` alone and keep nothing, such as fedavg and fedprox.
        optimizer: The server's optimiser.
        interpret: How the clients' work is run.

    Returns:
        `step(state, cohort, key) -> (state, metrics)`, with `staleness`, the mean over the buffer, beside the metrics
        of a synchronous round.

    Raises:
        UsageError: On the first call, when clients send more than `delta`.

    References:
        Nguyen et al., Federated Learning with Buffered Asynchronous Aggregation, arXiv:2106.06639, algorithm 1.
    """

    def work(inputs: tuple[BufferedState, Cohort, Any, PRNGKey], slot: Any) -> tuple[PyTree, PyTree]:
        state, cohort, late, key = inputs
        client = cohort.ids[slot]
        batches = cohort.clients.of(client)
        window = jax.tree.leaves(state.history)[0].shape[0]
        version = (state.round - late[slot]) % window
        old = jax.tree.map(lambda leaf: leaf[version], state.history)
        answer = algorithm.update(old, state.shared, (), batches, jax.random.fold_in(key, client))
        if set(answer.message) != {"delta"}:
            sent = ", ".join(sorted(answer.message))
            raise UsageError(f"buffered rounds: wanted clients that send `delta` alone, as in fedavg, got {sent}")
        discount = jax.lax.rsqrt(1 + late[slot].astype(jnp.float32))
        return contribute(answer._replace(weight=discount), (), full=batches.count > 0)

    def step(state: BufferedState, cohort: Cohort, key: PRNGKey) -> tuple[BufferedState, Metrics]:
        delay_key, work_key = jax.random.split(key)
        window = jax.tree.leaves(state.history)[0].shape[0]
        late = staleness(delay_key, cohort.ids.shape[0], jnp.minimum(state.round + 1, window))
        steps = cohort.clients.count[cohort.ids]
        sums, rows = interpret(work, (state, cohort, late, work_key), steps, cohort.active)
        after, _ = advance(algorithm, optimizer, state, {**sums, "weight": sums["accepted"]}, cohort.clients.number)
        place = after.round % window
        history = jax.tree.map(lambda all_, leaf: all_.at[place].set(leaf), state.history, after.params)
        metrics = measure(algorithm, state, sums, rows, cohort)
        answered = cohort.active.astype(jnp.float32)
        mean = jnp.sum(late.astype(jnp.float32) * answered) / jnp.maximum(jnp.sum(answered), 1)
        following = state.replace(  # pyright: ignore[reportAttributeAccessIssue]
            params=after.params, optimizer=after.optimizer, shared=after.shared, round=after.round, history=history
        )
        return following, {**metrics, "staleness": mean}

    return step
