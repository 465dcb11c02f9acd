"""A round of FedAvg in chainlab."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from federated_case import draw, summary
from worker import serve

from chainlab import federated, nn


def prepare(case):
    """Draw the clients, run one round and report the change."""
    layers, clients = draw(case)
    x, y = (np.concatenate(part) for part in zip(*clients))  # noqa: B905
    parts = np.split(np.arange(len(y)), np.cumsum([len(labels) for _, labels in clients])[:-1])
    data = federated.lay_out({"x": x, "y": y}, parts, case["batch"])
    # The order in which the peers see the examples, without the layout's own shuffle.
    ordered = {"x": x.reshape(data.arrays["x"].shape), "y": y.reshape(-1, case["batch"])}
    data = jax.device_put(data.replace(arrays={**data.arrays, **ordered}))
    tail = nn.mlp(case["sizes"][1:])
    params = {name: {} for name in jax.eval_shape(tail.init, jax.random.key(0))}
    for index, (w, b) in enumerate(layers[1:]):
        params[f"dense{index}"] = {"weight": jnp.asarray(w), "bias": jnp.asarray(b)}
    params = {"input": {"weight": jnp.asarray(layers[0][0]), "bias": jnp.asarray(layers[0][1])}, "tail": params}

    def head(params, batch, key):
        output = tail.apply(params["tail"], jax.nn.relu(batch["x"] + params["input"]["bias"]))
        losses = optax.softmax_cross_entropy_with_integer_labels(output, batch["y"])
        return federated.masked_mean(losses, batch["mask"]), {}

    product = federated.InputProduct(head, ("input", "weight"))
    objective = product if case.get("products", True) else lambda params, batch, key: product(params, batch, key)
    forms = {"ragged": federated.ragged, "padded": federated.vmapped}
    interpret = forms.get(case.get("form")) or federated.choose(objective, params, data)
    algorithm, server = federated.fedavg(objective, rate=case["rate"], epochs=case["epochs"]), optax.sgd(1.0)
    advance = federated.federate(algorithm, server, interpret=interpret)
    everyone = jnp.arange(len(clients), dtype=jnp.int32)
    run = jax.jit(
        lambda state, data, key: advance(state, federated.Cohort(data, everyone, jnp.ones(len(clients), bool)), key),
        donate_argnums=0,
    )
    key = jax.random.key(0)
    held = {"state": federated.start(algorithm, server, jax.tree.map(jnp.copy, params), len(clients))}

    def step():
        held["state"], _ = jax.block_until_ready(run(held["state"], data, key))

    step()
    after = jax.device_get(held["state"].params)
    dense = [after["input"], *(after["tail"][f"dense{i}"] for i in range(len(layers) - 1))]
    return step, summary(layers, [(layer["weight"], layer["bias"]) for layer in dense])


serve(prepare)
