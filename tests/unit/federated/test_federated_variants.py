"""Personal layers, codes on the wire, and asynchronous buffers, on a problem that NumPy can follow."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab import federated
from chainlab.errors import UsageError
from chainlab.federated.config import ClientConfig, PartitionConfig
from chainlab.optim.compression import top_k

pytestmark = pytest.mark.usefixtures("standard_promotion")
SIZES = (2, 2, 4)


@pytest.fixture(scope="module")
def clients():
    n = sum(SIZES)
    arrays = {"x": np.arange(n, dtype=np.float32)}
    return federated.lay_out(arrays, np.split(np.arange(n), np.cumsum(SIZES)[:-1]), 2)


def halve(params, shared, memory, batches, key):
    """A client whose update is minus half of what it was given, so that every version leaves its trace."""
    delta = jax.tree.map(lambda leaf: -leaf / 2, params)
    return federated.Update({"delta": delta}, batches.examples, memory, {"loss": jnp.zeros(())})


def cohort(clients, ids=(0, 1, 2)):
    return federated.Cohort(clients, jnp.asarray(ids, jnp.int32), jnp.ones(len(ids), bool))


@pytest.mark.slow
def test_own_layers_stay_with_their_client(clients):
    algorithm, server = federated.local_heads(federated.Algorithm(halve), ["head"]), optax.adam(0.1)
    params = {"body": jnp.ones(3), "head": jnp.full(5, 4.0)}
    state = federated.start(algorithm, server, params, 3)
    step = jax.jit(federated.federate(algorithm, server))
    state, metrics = step(state, cohort(clients, (0, 1)), jax.random.key(0))
    state, _ = step(state, cohort(clients, (1,)), jax.random.key(0))
    np.testing.assert_array_equal(state.params["head"], params["head"])
    assert np.all(state.params["body"] < 1)
    heads, _ = state.memory
    np.testing.assert_allclose(heads["head"][:, 0], [2.0, 1.0, 4.0])  # asked once, twice, never
    assert (float(metrics["bytes_up"]), float(metrics["bytes_down"])) == (2 * 12, 2 * 12)
    memory = jax.tree.map(lambda leaf: leaf[1], state.memory)
    tuned = federated.fine_tune(algorithm, state.params, (), memory, clients.of(jnp.asarray(1)), jax.random.key(0))
    np.testing.assert_allclose(tuned["head"], 0.5)
    np.testing.assert_allclose(tuned["body"], state.params["body"] / 2)


def test_what_a_client_keeps_is_its_whole_training_also_where_it_sends_a_mean_step(clients):
    """FedNova sends its change over its steps, which is the server's business and not the client's."""

    def objective(params, batch, key):
        return federated.masked_mean((params["head"] + params["body"] - batch["x"]) ** 2, batch["mask"]), {}

    params, key = {"body": jnp.zeros(()), "head": jnp.ones(())}, jax.random.key(0)
    batches, found = clients.of(jnp.asarray(2)), {}
    for name in ("fedavg", "fednova"):
        plain = getattr(federated, name)(objective, rate=0.1, epochs=2)
        personal = federated.local_heads(plain, ["head"])
        memory = personal.memory(params)
        found[name] = (
            personal.update(params, (), memory, batches, key).memory[0],
            federated.fine_tune(plain, params, (), (), batches, key),
            federated.fine_tune(personal, params, (), memory, batches, key),
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found["fednova"], found["fedavg"])
    assert float(found["fedavg"][0]["head"]) != 1.0


@pytest.mark.parametrize("names", [[], ["body", "head"], ["none"]])
def test_own_layers_must_be_some_of_the_parameters(names):
    with pytest.raises(UsageError, match="local_heads: wanted"):
        federated.local_heads(federated.Algorithm(halve), names).memory({"body": jnp.ones(1), "head": jnp.ones(1)})


def test_what_a_code_leaves_out_is_sent_later_and_its_bytes_are_counted(clients):
    algorithm, server = federated.compressed(federated.Algorithm(halve), top_k(0.25)), optax.sgd(1.0)
    params = jnp.asarray([8.0, -4.0, 2.0, 1.0])
    state = federated.start(algorithm, server, params, 3)
    step = jax.jit(federated.federate(algorithm, server))
    w, left = np.asarray(params), np.zeros((3, 4))
    for _ in range(3):
        state, metrics = step(state, cohort(clients), jax.random.key(0))
        wanted = -w / 2 + left
        sent = np.where(np.abs(wanted) == np.abs(wanted).max(1, keepdims=True), wanted, 0)
        left, w = wanted - sent, w + np.average(sent, axis=0, weights=SIZES)
        np.testing.assert_allclose(state.params, w, rtol=1e-6)
        np.testing.assert_allclose(state.memory[0], left, rtol=1e-6)
    assert w[1] != -4.0  # the second largest had its turn
    assert float(metrics["bytes_up"]) == 3 * (4 + 2)  # a value and its index from each
    assert float(metrics["bytes_down"]) == 3 * 16


@pytest.mark.slow
def test_a_buffer_takes_updates_of_older_versions_at_a_discount(clients):
    algorithm, server, window = federated.Algorithm(halve), optax.sgd(1.0), 3
    params = jnp.asarray([1.0, -2.0])
    state = federated.start_buffered(algorithm, server, params, 3, window=window)
    step = jax.jit(federated.federate_buffered(algorithm, server))
    versions, seen = [np.asarray(params)], set()
    for index in range(6):
        key = jax.random.key(index)
        late = federated.staleness(jax.random.split(key)[0], 3, jnp.asarray(min(index + 1, window)))
        seen |= set(late.tolist())
        deltas = [-versions[index - age] / 2 / np.sqrt(1 + age) for age in late.tolist()]
        versions.append(versions[index] + np.mean(deltas, axis=0))
        state, metrics = step(state, cohort(clients), key)
        np.testing.assert_allclose(state.params, versions[-1], rtol=1e-5)
        assert float(metrics["staleness"]) == pytest.approx(np.mean(late))
    assert seen == {0, 1, 2}


def test_a_buffer_refuses_what_it_cannot_mean(clients):
    def objective(params, batch, key):
        return jnp.sum(params) * jnp.mean(batch["x"]), {}

    with pytest.raises(UsageError, match="keep nothing"):
        federated.start_buffered(federated.scaffold(objective, rate=0.1), optax.sgd(1.0), jnp.ones(2), 3, window=2)
    with pytest.raises(UsageError, match="window"):
        federated.start_buffered(federated.Algorithm(halve), optax.sgd(1.0), jnp.ones(2), 3, window=0)
    nova = federated.fednova(objective, rate=0.1)
    state = federated.start_buffered(nova, optax.sgd(1.0), jnp.ones(2), 3, window=2)
    with pytest.raises(UsageError, match="got delta, steps"):
        federated.federate_buffered(nova, optax.sgd(1.0))(state, cohort(clients), jax.random.key(0))


def test_each_client_is_measured_on_its_own_examples(clients):
    def measure(params, batch):
        return {"x": batch["x"] * params}

    found = federated.evaluate_clients(measure, lambda client: 1.0 + client.astype(jnp.float32), clients)["x"]
    np.testing.assert_allclose(found, [0.5, 2 * 2.5, 3 * 5.5])
    assert float(federated.worst_decile(jnp.asarray([3.0, jnp.nan, 1.0]))) == 1.0


def test_clients_hold_out_a_share_and_keep_one_to_train_on():
    parts = [np.arange(8), np.array([8]), np.arange(9, 13)]
    own, held = PartitionConfig(holdout=0.25).hold_out(parts)
    assert [len(part) for part in own] == [6, 1, 3]
    assert [len(part) for part in held] == [2, 0, 1]
    assert all(set(a) | set(b) == set(part) for a, b, part in zip(own, held, parts, strict=True))


@pytest.mark.parametrize("algorithm", ["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_adaptive_algorithms_bring_their_server(algorithm):
    from chainlab.optim import build

    server = build(ClientConfig(algorithm=algorithm).server())
    state, params = server.init(jnp.zeros(2)), jnp.zeros(2)
    for _ in range(2):
        updates, state = server.update(jnp.asarray([-1.0, 0.01]), state, params)
    ratio = float(updates[0] / updates[1])
    assert ratio < 0
    if algorithm.startswith("fedavg"):
        assert ratio == pytest.approx(-100)
        assert float(updates[0]) == pytest.approx(1.9 if algorithm == "fedavgm" else 1.0)
    else:
        assert -3 < ratio <= -1 + 1e-6  # steps of like size however large the update


def test_the_advantage_of_an_attack():
    rng = np.random.default_rng(0)
    assert federated.membership_advantage(rng.normal(size=4000), rng.normal(size=4000)) < 0.06
    # the best threshold between N(0, 1) and N(2, 1) is 1: 2 Phi(1) - 1
    assert federated.membership_advantage(rng.normal(size=4000), 2 + rng.normal(size=4000)) == pytest.approx(
        0.6827, abs=0.03
    )
    with pytest.raises(UsageError, match="finite losses"):
        federated.membership_advantage(np.array([]), np.array([1.0]))
