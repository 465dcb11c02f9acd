"""Federated rounds against FedJAX, NumPy, PyTorch, pfl-research and Flower's simulation: one thread each."""

import functools
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainlab.lab.bench import Row, compare, ratios
from chainlab.lab.peers import PeerError

_PEERS = Path(__file__).parent / "peers"
_OURS = (_PEERS / "federated_chainlab.py", "chainlab")
_CONTENDERS = {
    "chainlab": _OURS,
    "fedjax": (_PEERS / "federated_fedjax.py", "jax"),
    "numpy": (_PEERS / "federated_numpy.py", "chainlab"),
    "pytorch": (_PEERS / "federated_torch.py", "torch"),
    "pytorch modules": (_PEERS / "federated_torch.py", "torch"),
    "pfl-research": (_PEERS / "federated_pfl.py", "pfl"),
    "flower": (_PEERS / "federated_flower.py", "flower"),
}
_MLP = {"sizes": [64, 32, 10], "clients": 50, "batch": 10, "rate": 0.05, "epochs": 1}
_2NN = {"sizes": [784, 200, 200, 10], "clients": 50, "batch": 10, "rate": 0.01, "epochs": 1}


def bench(rounds: int = 7) -> list[Row]:
    """Measure everything.

    Args:
        rounds: Interleaved rounds of each timing.

    Returns:
        A round of FedAvg over 50 ragged clients: a small perceptron, and the 2NN of McMahan et al.
        (arXiv:1602.05629) with one and with five local epochs; and the memory of a round of 100 among 100 and among
        10,000 clients. Flower's figure includes its processes and serialisation: it simulates a deployment. Then what
        an attack learns with and without privacy, and rounds to target on digits; `convergence("fashion")` measures
        the latter on Fashion-MNIST, which takes minutes.
    """
    return [
        *small(rounds),
        *two_layers(rounds),
        *two_layers(rounds, epochs=5),
        *memory(),
        *privacy(),
        *convergence("digits"),
    ]


def small(rounds: int) -> list[Row]:
    """The perceptron 64-32-10, whose steps are mostly overhead."""
    goals = {"fedjax": 10, "numpy": 6, "pytorch": 10, "pfl-research": 15, "flower": 50}
    extra = {"one after the other": {"form": "ragged"}, "padded": {"form": "padded"}}
    return _round("mlp", _MLP, goals, extra, rounds, repeat=4)


def two_layers(rounds: int, epochs: int = 1) -> list[Row]:
    """The 2NN 784-200-200-10, whose steps are mostly products."""
    bound = 1.5 if epochs == 1 else 2.4
    goals = dict.fromkeys(("fedjax", "numpy", "pytorch"), bound)
    extra = {} if epochs == 1 else {"on the weights": {"products": False}}
    return _round(f"2nn-{epochs}", {**_2NN, "epochs": epochs}, goals, extra, min(rounds, 5))


def memory() -> list[Row]:
    """XLA's plan of a round of 100 clients, among 100 and among 10,000."""
    import jax
    import numpy as np
    import optax

    from chainlab import federated, nn

    model = nn.mlp((64, 32, 10))

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        losses = optax.softmax_cross_entropy_with_integer_labels(model.apply(params, batch["x"]), batch["y"])
        return federated.masked_mean(losses, batch["mask"]), {}

    algorithm, server = federated.fedavg(objective, rate=0.1), optax.sgd(1.0)
    step = federated.federate(algorithm, server)

    def planned(clients: int) -> int:
        arrays = {"x": np.zeros((clients * 20, 64), np.float32), "y": np.zeros(clients * 20, np.int32)}
        data = federated.lay_out(arrays, federated.even(clients * 20, clients), 10)
        state = federated.start(algorithm, server, model.init(jax.random.key(0)), clients)

        def one(state: Any, data: Any, key: Any) -> Any:
            draw, work = jax.random.split(key)
            return step(state, federated.uniform(data, 100, draw), work)

        plan = jax.jit(one, donate_argnums=0).lower(state, data, jax.random.key(0)).compile().memory_analysis()
        return plan.temp_size_in_bytes

    few, many = planned(100), planned(10_000)
    text = "temporary memory of a round of 100 clients (XLA's plan): among 10,000 over among 100"
    note = f"{many / 1024:.0f} KiB against {few / 1024:.0f} KiB, beside the data itself"
    return [Row("memory/clients", text, many / few, "<= 1.05", note=note)]


def privacy() -> list[Row]:
    """A membership-inference attack on models trained with and without client-level privacy, and the noise."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from chainlab import federated, nn
    from chainlab.data.config import DatasetConfig

    dataset = DatasetConfig(name="digits").load().flat()
    train = {name: np.asarray(leaf) for name, leaf in (dataset.transform or dict)(dataset.train).items()}
    count, size = 40, 6
    parts = federated.even(len(train["y"]), len(train["y"]) // size)
    inside, outside = (federated.lay_out(train, parts[first : first + count], 2) for first in (0, count))
    model = nn.mlp((64, 64, 10))

    def losses(params: Any, batch: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model.apply(params, batch["x"]), batch["y"])

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        return federated.masked_mean(losses(params, batch), batch["mask"]), {}

    algorithm, server, rounds, rate = federated.fedavg(objective, rate=0.1, epochs=5), optax.sgd(1.0), 60, 0.5
    test = (dataset.transform or dict)(dataset.splits["test"])
    rows: list[Row] = []
    for noise in (0.0, 1.0, 4.0):
        mechanism = federated.Privacy(1.0, noise, rate) if noise else None
        step = federated.federate(algorithm, server, privacy=mechanism)

        def run(key: Any, step: Any = step) -> Any:
            begin, draws = jax.random.split(key)
            state = federated.start(algorithm, server, model.init(begin), count)

            def one(state: Any, key: Any) -> Any:
                draw, work = jax.random.split(key)
                return step(state, federated.poisson(inside, rate, draw), work)[0], None

            params = jax.lax.scan(one, state, jax.random.split(draws, rounds))[0].params
            of = functools.partial(federated.evaluate_clients, losses, lambda client, params=params: params)
            right = jnp.argmax(model.apply(params, test["x"]), axis=-1) == test["y"]
            return (of(inside), of(outside)), jnp.mean(right.astype(jnp.float32))

        trained = jax.jit(run)
        found = [jax.device_get(trained(jax.random.key(seed))) for seed in range(3)]
        advantages = [federated.membership_advantage(*map(np.asarray, sides)) for sides, _ in found]
        note = f"test accuracy {statistics.mean(float(accuracy) for _, accuracy in found):.3f}"
        if mechanism:
            note += f", epsilon {federated.epsilons(mechanism, rounds, delta=1e-3)[-1]:.1f} at delta 1e-3"
        text = f"loss-threshold attack's advantage, {count} clients in and {count} out, noise multiplier {noise:g}"
        spread = (min(advantages), max(advantages))
        rows.append(Row(f"membership/noise-{noise:g}", text, statistics.mean(advantages), spread=spread, note=note))
    drawn = np.asarray(federated.add_noise(jnp.zeros(1_000_000), 1.5, jax.random.key(0)))
    text = "noise on a million coordinates: |measured sigma / sigma - 1|"
    return [*rows, Row("noise/sigma", text, abs(float(np.std(drawn)) / 1.5 - 1), "<= 0.02")]


def convergence(data: str) -> list[Row]:
    """Rounds to 95 % of the centralised accuracy, by algorithm, on clients alike and skewed: one sweep, three seeds."""
    import tempfile

    import numpy as np

    from chainlab.federated import panels
    from chainlab.lab import run
    from chainlab.lab.config import load
    from chainlab.lab.jobs import jobs
    from chainlab.lab.sweep import sweep

    config = f"federated/rounds_{data}"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        alone = ["sweep={}", "partition.kind=even", "partition.clients=1", "sampling.size=1", "client.epochs=1"]
        steps = 20 if data == "digits" else 4
        document = load(config, [*alone, f"run.steps={steps}", f"run.eval_every={steps}", "run.log_every=1"])
        central = run.start(document, root=Path(folder, "central"), quiet=True)
        best = float(np.mean(panels.history(central.folder)["test"]["accuracy"][-1]))
        target = 0.95 * best
        rows.append(Row(f"rounds/{data}/centralised", f"test accuracy of centralised SGD, {steps} epochs", best))
        document = load(config)
        found: dict[tuple[str, str], Any] = {}
        for result in sweep(document, Path(folder, "sweep"), jobs(document)):
            if result.run is None or result.status != "done":
                raise PeerError(f"{result.job.values}: {result.error}")
            test = panels.history(result.run.path)["test"]
            each = panels.rounds_to_target(test["step"], test["accuracy"], target)
            split = "alike" if result.job.values["partition.kind"] == "even" else "skewed"
            name = result.job.values["client.algorithm"]
            found[split, name] = float(np.median(each))
            text = f"rounds to {target:.3f} test accuracy (95 % of centralised), 100 clients {split}, median of 3 seeds"
            last = test["accuracy"][-1]
            note = (
                f"accuracy after {test['step'][-1]} rounds {np.mean(last):.3f} ({np.min(last):.3f}-{np.max(last):.3f})"
            )
            spread = (float(np.min(each)), float(np.max(each)))
            value = found[split, name] if np.isfinite(found[split, name]) else None
            rows.append(Row(f"rounds/{data}-{split}/{name}", text, value, spread=spread, note=note))
    fastest = min(found["skewed", name] for name in ("scaffold", "fedadam"))
    ratio = found["skewed", "fedavg"] / fastest
    text = "rounds of FedAvg over the better of SCAFFOLD and FedAdam, skewed clients"
    return [*rows, Row(f"rounds/{data}-skewed/gain", text, ratio if np.isfinite(fastest) else None, ">= 1.01")]


def _round(
    name: str,
    case: Mapping[str, Any],
    goals: Mapping[str, float],
    extra: Mapping[str, Mapping[str, Any]],
    rounds: int,
    repeat: int = 1,
) -> list[Row]:
    """Our round against every peer and against our own other forms."""
    wanted = [*goals, "pytorch modules"]
    timings, _, missing = compare(
        case,
        {"chainlab": _OURS, **{peer: _CONTENDERS[peer] for peer in wanted}, **dict.fromkeys(extra, _OURS)},
        ours="chainlab",
        forms=extra,
        rounds=rounds,
        repeat=repeat,
        tolerance=1e-3,
        variables={"pytorch modules": {"FEDERATED_VARIANT": "modules"}},
    )
    against = ratios(timings, "chainlab")
    sizes = "-".join(map(str, case["sizes"]))
    text = f"{sizes}, {case['epochs']} epoch(s), a round of 50 ragged clients: time of {{}} over ours"
    each = 1e6 / (repeat * case["clients"])
    note = "microseconds a client: " + ", ".join(
        f"{who} {each * statistics.median(row['seconds'] for row in rows):.0f}" for who, rows in timings.items()
    )
    rows = []
    for peer in [*wanted, *extra]:
        goal = f">= {goals[peer]}" if peer in goals else ""
        value, *spread = against.get(peer, (None, None, None))
        why = missing.get(peer, "").splitlines()
        rows.append(
            Row(
                f"{name}/{peer.replace(' ', '-')}",
                text.format(peer),
                value,
                goal,
                spread=(spread[0], spread[1]) if value is not None else None,  # pyright: ignore[reportArgumentType]
                note=why[-1] if why else note if peer == wanted[0] else "",
            )
        )
    return rows
