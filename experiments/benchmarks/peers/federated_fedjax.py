"""A round of FedAvg in FedJAX, its own algorithm on its jit backend, unchanged."""

import jax

jax.tree_map = jax.tree.map  # FedJAX 0.0.17 is older than the removal of this name

import fedjax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from federated_case import draw, summary  # noqa: E402
from worker import serve  # noqa: E402


def prepare(case):
    """Draw the clients, run one round and report the change."""
    layers, clients = draw(case)

    def loss(params, batch, rng):
        h = batch["x"]
        for w, b in params[:-1]:
            h = jax.nn.relu(h @ w + b)
        logits = h @ params[-1][0] + params[-1][1]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]))

    batching = fedjax.ShuffleRepeatBatchHParams(case["batch"], num_epochs=case["epochs"], skip_shuffle=True)
    algorithm = fedjax.algorithms.fed_avg.federated_averaging(
        jax.grad(loss), fedjax.optimizers.sgd(case["rate"]), fedjax.optimizers.sgd(1.0), batching
    )
    group = [
        (index, fedjax.ClientDataset({"x": x, "y": y}), jax.random.key(index)) for index, (x, y) in enumerate(clients)
    ]
    held = {"state": algorithm.init([tuple(jnp.asarray(p) for p in layer) for layer in layers])}

    def step():
        held["state"], _ = algorithm.apply(held["state"], group)
        jax.block_until_ready(held["state"])

    step()
    return step, summary(layers, jax.device_get(held["state"].params))


serve(prepare)
