"""The deployed server and its nodes in one process: the simulation's parameters, resumption, and what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

pytest.importorskip("flwr")
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from chainlab import federated
from chainlab.errors import ChainlabError, CheckpointError
from chainlab.federated import deployment
from chainlab.federated.store import load_tree, save_tree

pytestmark = pytest.mark.usefixtures("standard_promotion")
SIZES = (4, 9, 6)


def objective(params, batch, key):
    output = batch["x"] @ params["w"] + params["b"][None]
    losses = optax.softmax_cross_entropy_with_integer_labels(output, batch["y"])
    return federated.masked_mean(losses, batch["mask"]), {}


def init(key):
    return {"w": jax.random.normal(key, (3, 2)), "b": jnp.zeros(2)}


@pytest.fixture(scope="module")
def federation():
    rng = np.random.default_rng(0)
    n = sum(SIZES)
    arrays = {"x": rng.normal(size=(n, 3)).astype(np.float32), "y": rng.integers(0, 2, n).astype(np.int32)}
    clients = federated.lay_out(arrays, np.split(np.arange(n), np.cumsum(SIZES)[:-1]), 4)
    return federated.Federation(federated.scaffold(objective, rate=0.3), optax.adam(0.05), init, clients)


@pytest.fixture(autouse=True)
def in_a_run(monkeypatch):
    """What Flower's own processes set, so that messages can be made outside them."""
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class Grid:
    """Nodes in this process; `spoil(node, round, reply)` may change what one sends."""

    def __init__(self, federation, folder, spoil=lambda node, index, reply: reply):
        self.federation, self.folder, self.spoil = federation, folder, spoil

    def get_node_ids(self):
        return [100, 101, 102]

    def send_and_receive(self, messages, timeout):
        for message in messages:
            node, index = message.metadata.dst_node_id, message.content["config"]["round"]
            reply = deployment.answer(self.federation, node - 100, self.folder, message)
            yield from self.spoil(node, index, [reply])


def spoiled(reply, arrays=None, **config):
    """A copy of a reply with other contents."""
    old = reply.content["config"]
    reply.content["config"] = ConfigRecord({**dict(old), **config})
    if arrays is not None:
        reply.content["arrays"] = ArrayRecord(arrays)
    return [reply]


def test_the_server_equals_the_simulation_and_resumes_in_the_middle_of_a_round(federation, tmp_path):
    plan = deployment.Plan(rounds=2, nodes=3, seed=5)
    deployment.serve(federation, plan, tmp_path, Grid(federation, tmp_path))

    def die(node, index, reply):
        if node == 101:
            raise ConnectionError("the server is killed after one node has answered")
        return reply

    with pytest.raises(ConnectionError):
        deployment.serve(federation, plan._replace(rounds=4), tmp_path, Grid(federation, tmp_path, die))
    found = deployment.serve(federation, plan._replace(rounds=4), tmp_path, Grid(federation, tmp_path))
    state = federated.start(federation.algorithm, federation.optimizer, init(jax.random.key(5)), 3)
    step = jax.jit(federated.federate(federation.algorithm, federation.optimizer))
    everyone = federated.Cohort(federation.clients, jnp.arange(3, dtype=jnp.int32), jnp.ones(3, bool))
    for index in range(4):
        state, _ = step(state, everyone, jax.random.fold_in(jax.random.key(5), index))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found.params, state.params)
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [(line["round"], line["clients"]) for line in lines] == [(index, [0, 1, 2]) for index in range(4)]
    assert lines[0]["bytes_up"] == 3 * 2 * (6 + 2) * 4
    stale = RecordDict({"arrays": ArrayRecord([]), "config": ConfigRecord({"round": 0, "key": [0, 0]})})
    like = jax.tree.map(np.asarray, (found.params, found.shared))
    stale["arrays"] = ArrayRecord([*jax.tree.leaves(like)])
    with pytest.raises(ChainlabError, match="replayed"):
        deployment.answer(federation, 0, tmp_path, Message(stale, 100, "train"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda reply: spoiled(reply, round=7), "late, replayed or forged"),
        (lambda reply: spoiled(reply, client=0), "forged"),
        (lambda reply: spoiled(reply, client=9), "not asked"),
        (lambda reply: spoiled(reply, weight=float("nan")), "weight"),
        (lambda reply: spoiled(reply, [np.zeros(3, np.float32)]), "structure"),
        (lambda reply: spoiled(reply, [a * np.nan for a in reply.content["arrays"].to_numpy_ndarrays()]), "finite"),
        (lambda reply: [reply, reply], "already answered"),
    ],
)
def test_a_bad_answer_is_named_and_the_round_goes_on(federation, tmp_path, spoil, reason):
    grid = Grid(federation, tmp_path, lambda node, index, reply: spoil(reply[0]) if node == 101 else reply)
    deployment.serve(federation, deployment.Plan(rounds=1, nodes=3), tmp_path, grid)
    (line,) = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert any(reason in each for each in line["rejected"])
    assert line["clients"] == ([0, 1, 2] if reason == "already answered" else [0, 2])


def test_too_few_answers_stop_the_run_and_an_oversized_one_is_refused(federation, tmp_path):
    plan = deployment.Plan(rounds=1, nodes=3, limit=10)
    with pytest.raises(ChainlabError, match="wanted 1 answers, got 0"):
        deployment.serve(federation, plan, tmp_path, Grid(federation, tmp_path))
    assert not (tmp_path / "state.safetensors").exists()


def test_a_state_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "state.safetensors"
    save_tree(path, {"a": np.zeros(2, np.float32), "n": np.int32(3)})
    assert int(load_tree(path, {"a": np.zeros(2, np.float32), "n": np.int32(0)})["n"]) == 3
    with pytest.raises(CheckpointError, match=r"float32\[3\]"):
        load_tree(path, {"a": np.zeros(3, np.float32), "n": np.int32(0)})
    with pytest.raises(CheckpointError, match="another state"):
        load_tree(path, {"b": np.zeros(2, np.float32)})
    path.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tree(path, {})
