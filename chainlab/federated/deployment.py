# pyright: reportMissingImports=false
"""A federation over a network: Flower carries the messages, the mathematics is that of the simulation.

A node answers with `client_update` on its own data; the server checks each answer at its door, adds up what is
accepted and takes the same step as in the simulation. The state is written after every round, so that a server that
is started again goes on from its last one.
"""

import functools
import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from chainlab.errors import ChainlabError, MissingDependencyError
from chainlab.federated.algorithms import Update
from chainlab.federated.federation import Federation
from chainlab.federated.inbox import Answer, Inbox, Rejection
from chainlab.federated.rounds import ServerState, advance, contribute, start
from chainlab.federated.store import load_tree, save_tree

if TYPE_CHECKING:
    from flwr.app import Message
    from flwr.serverapp.grid import Grid

_log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """How a deployment runs.

    Attributes:
        rounds: Rounds in all.
        nodes: Nodes to wait for before each round.
        seed: Seed of the parameters and of every round's keys.
        timeout: Seconds that a round waits for answers, and for nodes before it.
        quorum: Fewest answers with which a round counts.
        limit: Most bytes of an answer.
    """

    rounds: int
    nodes: int
    seed: int = 0
    timeout: float = 600.0
    quorum: int = 1
    limit: int = 1 << 30


def round_keys(seed: int, index: int) -> tuple[Any, Any]:
    """The keys of a round: of the clients' work and of the server's noise, as `federate` draws them from one key."""
    work, noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
    return work, noise


def _flwr() -> Any:
    try:
        import flwr.app
    except ImportError as error:
        raise MissingDependencyError("flwr", "federated", "a deployment") from error
    return flwr.app


def _pack(tree: PyTree) -> Any:
    return _flwr().ArrayRecord([np.asarray(leaf) for leaf in jax.tree.leaves(tree)])


def _unpack(record: Any, like: PyTree) -> PyTree:
    """A record as a tree; as a bare list where it has not as many leaves, which the inbox then refuses."""
    leaves = record.to_numpy_ndarrays()
    structure = jax.tree.structure(like)
    return structure.unflatten(leaves) if len(leaves) == structure.num_leaves else leaves


def _shapes(federation: Federation) -> tuple[ServerState, Update]:
    """Shapes of the server's state and of a client's answer."""
    clients = federation.clients

    def look(key: Any, clients: Any) -> tuple[ServerState, Update]:
        state = start(federation.algorithm, federation.optimizer, federation.init(key), 1)
        memory = jax.tree.map(lambda leaf: leaf[0], state.memory)
        update = federation.algorithm.update
        return state, update(state.params, state.shared, memory, clients.of(jnp.zeros((), jnp.int32)), key)

    return jax.eval_shape(look, jax.random.key(0), clients)


class _Memory:
    """What a client keeps between rounds, on its disk; a round that is asked for again finds what it found before."""

    def __init__(self, path: Path, first: PyTree) -> None:
        self._path, self._last, self._before, self._after = path, -1, first, first
        if jax.tree.leaves(first) and path.exists():
            like = {"round": np.zeros((), np.int32), "before": first, "after": first}
            found = load_tree(path, like)
            self._last, self._before, self._after = int(found["round"]), found["before"], found["after"]

    def at(self, index: int) -> PyTree:
        """The memory before a round."""
        if index < self._last:
            raise ChainlabError(f"round {index} was asked for after round {self._last} had been answered (replayed)")
        return self._before if index == self._last else self._after

    def keep(self, index: int, after: PyTree) -> None:
        """Remember what a round left."""
        if jax.tree.leaves(after):
            save_tree(self._path, {"round": np.int32(index), "before": self.at(index), "after": after})


def answer(
    federation: Federation, client: int, folder: Path, message: "Message", *, row: int | None = None
) -> "Message":
    """A node's answer to a round.

    Args:
        federation: The federation.
        client: The client that the node is.
        folder: Where the node keeps its memory between rounds.
        message: What the server sent.
        row: Where its data lies among the federation's clients, if not at its own number.

    Returns:
        The answer: the client's message, its weight, its mean loss, its number and the round.
    """
    flwr = _flwr()
    state, _ = _shapes(federation)
    config = message.content["config"]
    params, shared = _unpack(message.content["arrays"], (state.params, state.shared))
    index = int(config["round"])
    memory = _Memory(folder / f"client{client}.safetensors", federation.algorithm.memory(params))
    key = jax.random.wrap_key_data(jnp.asarray(config["key"], jnp.uint32))
    own, place = (jnp.asarray(index, jnp.int32) for index in (client, client if row is None else row))

    @jax.jit
    def update(params: Any, shared: Any, memory: Any, clients: Any, key: Any) -> Update:
        return federation.algorithm.update(params, shared, memory, clients.of(place), jax.random.fold_in(key, own))

    found: Update = update(params, shared, memory.at(index), federation.clients, key)
    memory.keep(index, found.memory)
    record = {"client": client, "round": index, "weight": float(found.weight)}
    content = flwr.RecordDict(
        {
            "arrays": _pack(found.message),
            "config": flwr.ConfigRecord({**record, "loss": float(found.metrics["loss"])}),
        }
    )
    return flwr.Message(content, reply_to=message)


def read(
    replies: "Iterable[Message]", inbox: Inbox, template: PyTree, owners: dict[int, int]
) -> tuple[list[Answer], dict[int, float], list[Rejection]]:
    """The answers of a round that may be used.

    Args:
        replies: What came back.
        inbox: The round's door.
        template: A client's message as it should be.
        owners: Node by client, as first seen; a client's number that comes from another node is forged.

    Returns:
        Accepted answers, the mean local loss by client, and rejections.
    """
    answers: list[Answer] = []
    losses: dict[int, float] = {}
    rejections: list[Rejection] = []
    for reply in replies:
        node = reply.metadata.src_node_id
        try:
            if reply.has_error():
                raise ValueError(f"node {node}: {reply.error.reason}")
            config = reply.content["config"]
            client = int(config["client"])
            if owners.setdefault(client, node) != node:
                raise ValueError(f"node {node} speaks for client {client}, which is node {owners[client]} (forged)")
            message = _unpack(reply.content["arrays"], template)
            answers.append(Answer(client, int(config["round"]), message, float(config["weight"])))
            losses[client] = float(config["loss"])
        except (KeyError, TypeError, ValueError) as error:
            rejections.append(Rejection(-1, f"{error}"))
            _log.warning("round %d: answer of node %s rejected: %s", inbox.round, node, error)
    accepted, refused = inbox.admit(answers)
    return accepted, losses, [*rejections, *refused]


def serve(federation: Federation, plan: Plan, folder: Path, grid: "Grid") -> ServerState:
    """Run the rounds that are left, writing the state and a line of `rounds.jsonl` after each.

    Args:
        federation: The federation.
        plan: How it runs.
        folder: Holds `state.safetensors`, from which it goes on where it is there, and `rounds.jsonl`.
        grid: Flower's way to the nodes.

    Returns:
        The state after the last round.

    Raises:
        ChainlabError: Too few nodes came, or too few answers, in the time there is.
    """
    flwr = _flwr()
    saved = folder / "state.safetensors"
    state = start(federation.algorithm, federation.optimizer, federation.init(jax.random.key(plan.seed)), 0)
    template = _shapes(federation)[1].message
    if saved.exists():
        state = load_tree(saved, state)
        _log.info("going on from round %d", int(state.round))
    number = federation.clients.number
    step = jax.jit(functools.partial(_step, federation, number))
    owners: dict[int, int] = {}
    while int(state.round) < plan.rounds:
        index = int(state.round)
        nodes = _wait_for_nodes(grid, plan, index)
        work, noise = round_keys(plan.seed, index)
        key = [int(word) for word in jax.random.key_data(work)]
        content = {
            "arrays": _pack((state.params, state.shared)),
            "config": flwr.ConfigRecord({"round": index, "key": key}),
        }
        began = time.monotonic()
        messages = [flwr.Message(flwr.RecordDict(content), node, "train") for node in nodes]
        replies = grid.send_and_receive(messages, timeout=plan.timeout)
        inbox = Inbox(index, frozenset(range(number)), template, plan.limit)
        accepted, losses, rejections = read(replies, inbox, template, owners)
        if len(accepted) < plan.quorum:
            raise ChainlabError(
                f"round {index}: wanted {plan.quorum} answers, got {len(accepted)}; serve again to go on"
            )
        # In order of client, so that the sum does not depend on who answered first.
        accepted.sort(key=lambda each: each.client)
        sums = None
        for each in accepted:
            loss = {"loss": jnp.asarray(losses[each.client], jnp.float32)}
            update = Update(each.message, jnp.asarray(each.weight, jnp.float32), (), loss)
            part, _ = contribute(update, (), privacy=federation.privacy)
            sums = part if sums is None else jax.tree.map(jnp.add, sums, part)
        state = step(state, sums, noise)
        save_tree(saved, state)
        size = sum(leaf.nbytes for each in accepted for leaf in jax.tree.leaves(each.message))
        _record(folder, index, accepted, losses, rejections, seconds=time.monotonic() - began, bytes_up=size)
    return state


def _step(federation: Federation, clients: int, state: ServerState, sums: PyTree, noise: Any) -> ServerState:
    privacy, last = federation.privacy, federation.last
    after, _ = advance(
        federation.algorithm, federation.optimizer, state, sums, clients, privacy=privacy, key=noise, last=last
    )
    return after


def _wait_for_nodes(grid: "Grid", plan: Plan, index: int) -> list[int]:
    """The nodes that are there: all that are wanted, or after a quarter of the timeout as many as make a quorum."""
    began = time.monotonic()
    while True:
        nodes = sorted(grid.get_node_ids())
        waited = time.monotonic() - began
        if len(nodes) >= plan.nodes or (waited > plan.timeout / 4 and len(nodes) >= plan.quorum):
            return nodes
        if waited > plan.timeout:
            raise ChainlabError(f"round {index}: wanted {plan.nodes} nodes in {plan.timeout:.0f} s, got {len(nodes)}")
        time.sleep(0.2)


def _record(
    folder: Path,
    index: int,
    accepted: list[Answer],
    losses: Mapping[int, float],
    rejections: list[Rejection],
    **figures: float | int,
) -> None:
    weight = sum(each.weight for each in accepted)
    line = {
        "round": index,
        "clients": [each.client for each in accepted],
        "loss": sum(each.weight * losses[each.client] for each in accepted) / weight,
        "rejected": [rejection.reason for rejection in rejections],
        **figures,
    }
    with (folder / "rounds.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
