"""Federated rounds against FedJAX, NumPy, PyTorch, pfl-research and Flower's simulation: one thread each."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainlab.lab.bench import Row, compare, ratios

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
        10,000 clients. Flower's figure includes its processes and serialisation: it simulates a deployment.
    """
    return [*small(rounds), *two_layers(rounds), *two_layers(rounds, epochs=5), *memory()]


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
