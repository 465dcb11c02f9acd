"""Rounds against plain NumPy, the three interpreters against one another, and what is rejected."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab import federated
from chainlab.errors import UsageError

pytestmark = pytest.mark.usefixtures("standard_promotion")
RATE, EPOCHS, MU, BATCH = 0.3, 2, 0.5, 4
SIZES = (3, 9, 4, 14, 6)


def make_clients(sizes=SIZES, dtype=np.float64, batch=BATCH):
    rng = np.random.default_rng(0)
    n = sum(sizes)
    arrays = {"x": rng.normal(size=(n, 3)).astype(dtype), "y": rng.integers(0, 2, n).astype(np.int32)}
    parts = np.split(np.arange(n), np.cumsum(sizes)[:-1])
    return federated.lay_out(arrays, parts, batch)


def objective(params, batch, key):
    output = batch["x"] @ params["w"] + params["b"][None]
    losses = optax.softmax_cross_entropy_with_integer_labels(output, batch["y"])
    return federated.masked_mean(losses, batch["mask"]), {}


def start(dtype=jnp.float64):
    rng = np.random.default_rng(1)
    return {"w": jnp.asarray(rng.normal(size=(3, 2)), dtype), "b": jnp.asarray(rng.normal(size=2), dtype)}


def cohort(clients, ids, active=None):
    active = [True] * len(ids) if active is None else active
    return federated.Cohort(clients, jnp.asarray(ids, jnp.int32), jnp.asarray(active))


# --- the reference: NumPy, one vector of parameters, a loop over clients


def flat(params):
    return np.concatenate([np.asarray(params["w"]).ravel(), np.asarray(params["b"])])


def gradient(v, x, y):
    logits = x @ v[:6].reshape(3, 2) + v[6:]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return np.concatenate([(x.T @ p).ravel(), p.sum(0)]) / len(y)


def batches_of(clients, client):
    first, count = int(clients.start[client]), int(clients.count[client])
    for row in range(first, first + count):
        here = clients.arrays["mask"][row] == 1
        yield clients.arrays["x"][row][here], clients.arrays["y"][row][here]


def numpy_round(name, v, clients, ids, c, memory):
    """The next parameters and control; `memory` is changed in place."""
    deltas, weights, taus, changes = [], [], [], []
    for k in ids:
        w, tau = v.copy(), 0
        if name == "fedsgd":
            x, y = (np.concatenate(part) for part in zip(*batches_of(clients, k), strict=True))
            w = v - RATE * gradient(v, x, y)
        else:
            for _ in range(EPOCHS):
                for x, y in batches_of(clients, k):
                    g = gradient(w, x, y)
                    g = g + MU * (w - v) if name == "fedprox" else g
                    g = g - memory[k] + c if name == "scaffold" else g
                    w, tau = w - RATE * g, tau + 1
        deltas.append(w - v)
        weights.append(1.0 if name == "scaffold" else SIZES[k])
        taus.append(tau)
        if name == "scaffold":
            new = memory[k] - c + (v - w) / (tau * RATE)
            changes.append(new - memory[k])
            memory[k] = new
    p = np.array(weights) / sum(weights)
    if name == "fednova":
        step = (p @ taus) * sum(pk * d / t for pk, d, t in zip(p, deltas, taus, strict=True))
    else:
        step = p @ np.array(deltas)
    if name == "scaffold":
        c = c + len(ids) / len(SIZES) * np.mean(changes, axis=0)
    return v + step, c, deltas


def build(name):
    options = {} if name == "fedsgd" else {"epochs": EPOCHS}
    options |= {"mu": MU} if name == "fedprox" else {}
    return getattr(federated, name)(objective, rate=RATE, **options)


@pytest.mark.parametrize(
    "name", ["scaffold", *(pytest.param(n, marks=pytest.mark.slow) for n in ("fedsgd", "fedavg", "fedprox", "fednova"))]
)
def test_three_rounds_equal_numpy(name, x64):
    clients, params = make_clients(), start()
    algorithm, server = build(name), optax.sgd(1.0)
    state = federated.start(algorithm, server, params, len(SIZES))
    step = jax.jit(federated.federate(algorithm, server))
    v, c, memory = flat(params), np.zeros(8), np.zeros((len(SIZES), 8))
    for ids in ([0, 1, 3], [4, 3, 2], [1, 0, 4]):
        state, metrics = step(state, cohort(clients, ids), jax.random.key(0))
        v, c, deltas = numpy_round(name, v, clients, ids, c, memory)
        np.testing.assert_allclose(flat(state.params), v, rtol=0, atol=1e-7)
        unit = [d / np.linalg.norm(d) for d in deltas]
        wanted = np.mean([unit[i] @ unit[j] for i in range(3) for j in range(i)])
        assert float(metrics["drift_cosine"]) == pytest.approx(wanted, abs=1e-5)
    if name == "scaffold":
        np.testing.assert_allclose(flat(state.shared), c, rtol=0, atol=1e-7)
        got = [flat(jax.tree.map(lambda leaf, k=k: leaf[k], state.memory)) for k in range(len(SIZES))]
        np.testing.assert_allclose(got, memory, rtol=0, atol=1e-7)
    sent = {"scaffold": (16, 16), "fednova": (8.5, 8)}.get(name, (8, 8))  # numbers of 8 bytes, and a step count of 4
    assert (float(metrics["bytes_up"]), float(metrics["bytes_down"])) == (3 * 8 * sent[0], 3 * 8 * sent[1])


@pytest.mark.slow
def test_fedavg_with_one_local_step_is_centralised_sgd():
    clients, params = make_clients(dtype=np.float32, batch=16), start(jnp.float32)
    algorithm, server = federated.fedavg(objective, rate=RATE), optax.sgd(1.0)
    state = federated.start(algorithm, server, params, len(SIZES))
    mask = clients.arrays["mask"].reshape(-1) == 1
    pool = {name: jnp.asarray(leaf.reshape(-1, *leaf.shape[2:])[mask]) for name, leaf in clients.arrays.items()}
    step = jax.jit(federated.federate(algorithm, server))
    for _ in range(3):
        state, _ = step(state, cohort(clients, range(5)), jax.random.key(0))
        slope = jax.grad(lambda p: objective(p, pool, None)[0])(params)
        params = jax.tree.map(lambda w, g: w - RATE * g, params, slope)
    np.testing.assert_allclose(flat(state.params), flat(params), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def interpreted():
    """Five rounds of SCAFFOLD with a client that drops out, run by each interpreter."""
    clients = make_clients(dtype=np.float32)
    algorithm, server = build("scaffold"), optax.adam(0.05)
    found = {}
    forms = {"sharded": federated.sharded(8), "grouped": federated.grouped(3)}
    for name in ("ragged", "grouped", "vmapped", "sharded"):
        interpret = forms.get(name) or getattr(federated, name)
        step = jax.jit(federated.federate(algorithm, server, interpret=interpret))
        state = federated.start(algorithm, server, start(jnp.float32), len(SIZES))
        for index in range(5):
            group = cohort(clients, [(index + j) % 5 for j in range(4)], [True, True, index != 2, True])
            state, metrics = step(state, group, jax.random.key(index))
        found[name] = jax.device_get((state, metrics))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grouped", "vmapped", "sharded"])
def test_interpreters_agree(interpreted, name):
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6),
        interpreted[name],
        interpreted["ragged"],
    )


def test_bad_updates_are_rejected_and_the_round_goes_on():
    clients = make_clients(sizes=(3, 9, 0, 14, 6), dtype=np.float32)
    clients.arrays["x"][int(clients.start[1])] = np.nan
    algorithm, server = build("scaffold"), optax.sgd(1.0)
    step = jax.jit(federated.federate(algorithm, server))
    before = federated.start(algorithm, server, start(jnp.float32), 5)
    both, metrics = step(before, cohort(clients, [0, 1, 2, 3]), jax.random.key(0))
    good, _ = step(before, cohort(clients, [0, 1, 2, 3], [True, False, False, True]), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, both, good)
    assert [float(metrics[n]) for n in ("clients", "rejected_nonfinite", "rejected_empty")] == [2, 1, 1]
    assert all(np.isfinite(value) for value in metrics.values())
    assert not np.any(both.memory["w"][1])
    assert np.any(both.memory["w"][3])
    same, metrics = step(both, cohort(clients, [0, 1, 2, 3], [False, True, True, False]), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, same.replace(round=both.round), both)
    assert float(metrics["clients"]) == 0
    assert int(same.round) == 2
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("server", [optax.sgd(0.5, momentum=0.9), optax.yogi(0.1, b2=0.99), optax.adagrad(0.1)])
def test_the_server_is_an_optax_transformation_of_the_mean(server):
    """Clients that always send one vector: the run is that of the optimiser on its negative."""

    def update(params, shared, memory, batches, key):
        return federated.Update({"delta": jnp.array([1.0, -2.0])}, batches.examples, (), {"loss": jnp.zeros(())})

    algorithm = federated.Algorithm(update)
    params = jnp.zeros(2)
    state, wanted, inner = federated.start(algorithm, server, params, 5), params, server.init(params)
    step = jax.jit(federated.federate(algorithm, server))
    for _ in range(2):
        state, _ = step(state, cohort(make_clients(dtype=np.float32), [0, 3]), jax.random.key(0))
        updates, inner = server.update(jnp.array([-1.0, 2.0]), inner, wanted)
        wanted = optax.apply_updates(wanted, updates)
    np.testing.assert_allclose(state.params, wanted, rtol=1e-6)
    assert np.all(np.sign(state.params) == [1, -1])


def test_packing_balances_lanes():
    steps = np.random.default_rng(0).integers(1, 25, 50).astype(np.int32)
    load = np.bincount(federated.pack(jnp.asarray(steps), 8), weights=steps, minlength=8)
    assert load.sum() == steps.sum()
    assert load.max() - load.min() <= steps.min()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: federated.fedavg(objective, rate=0.0),
        lambda: federated.fedavg(objective, rate=0.1, epochs=0),
        lambda: federated.fedprox(objective, rate=0.1, mu=-1.0),
        lambda: federated.sharded(9),
        lambda: federated.grouped(0),
        lambda: federated.fedsgd(objective, rate=-1.0),
    ],
)
def test_bad_arguments(wrong):
    with pytest.raises(UsageError, match="wanted"):
        wrong()
