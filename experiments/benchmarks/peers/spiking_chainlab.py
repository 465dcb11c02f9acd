"""chainlab's side of the spiking benchmarks."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import spiking_case
from worker import serve

from chainlab import nn, spiking


def neuron(size, semantics):
    """A LIF neuron as the peer defines it: when it resets, whether that is differentiated, the surrogate's height."""
    surrogate = spiking.Surrogate("arctan", scale=float(np.pi), height=semantics.get("height", 1.0))
    return spiking.lif(
        size,
        decay=semantics.get("decay", 0.95),
        timing=semantics.get("timing", "delayed"),
        detach=semantics.get("detach", True),
        surrogate=surrogate,
    )


def layer(case):
    """Forward and backward of one layer: by the adjoint, recomputed, online, or its two matrix products alone."""
    x, weight = (jnp.asarray(a) for a in spiking_case.layer(case))
    variant = os.environ.get("SPIKING_VARIANT", "adjoint")
    size = case["size"]
    net = spiking.Network({"dense": nn.dense(size, size, bias=False), "lif": neuron(size, case["semantics"])})
    objective = spiking.Objective(net, spiking.total_output())
    params = {"dense": {"weight": weight}, "lif": {}}
    if variant == "products":

        def products(weight, x):
            flat = x.reshape(-1, size)
            current = flat @ weight
            # the second product needs the first one's result, as the adjoint does
            return jnp.sum(current), flat.T @ current

        step = jax.jit(products)
        run = lambda: jax.block_until_ready(step(weight, x))  # noqa: E731
        run()
        return run, [0.0]
    if variant == "bfloat16":
        cast = spiking.dense_bfloat16(size, size)
        objective = spiking.Objective(
            spiking.Network({"dense": cast, "lif": net.layers["lif"]}), spiking.total_output()
        )
    rule = {
        "checkpointed": lambda: spiking.checkpointed(case.get("memory", 10.0)),
        "online": lambda: spiking.online_trace,
    }.get(variant, lambda: spiking.bptt)()

    def gradient(params, x):
        (value, _), gradients = rule(objective)(params, {"x": x, "y": None}, jax.random.key(0))
        return value, gradients["dense"]["weight"]

    compiled = jax.jit(gradient).lower(params, x).compile()
    run = lambda: jax.block_until_ready(compiled(params, x))  # noqa: E731
    total, weight_gradient = run()
    if case.get("outputs") == "memory":
        return run, [compiled.memory_analysis().temp_size_in_bytes / 2**20]
    return run, spiking_case.summary(total, weight_gradient)


def training(case):
    """An Adam step of 784-hidden-10 on a constant current."""
    x, y, first, second = spiking_case.training(case)
    semantics = case["semantics"]
    net = spiking.Network(
        {
            "dense0": nn.dense(784, case["hidden"]),
            "lif0": neuron(case["hidden"], semantics),
            "dense1": nn.dense(case["hidden"], 10),
            "lif1": neuron(10, semantics),
        }
    )
    read = lambda batch, key: (spiking.Constant(batch["x"], case["time"]), batch["y"])  # noqa: E731
    objective = spiking.Objective(net, spiking.count_cross_entropy(), read)
    optimizer = optax.adam(5e-4)
    params = {
        "dense0": {"bias": jnp.zeros(case["hidden"]), "weight": jnp.asarray(first)},
        "lif0": {},
        "dense1": {"bias": jnp.zeros(10), "weight": jnp.asarray(second)},
        "lif1": {},
    }
    batch = {"x": jnp.asarray(x), "y": jnp.asarray(y.astype(np.int32))}

    def update(params, state):
        (loss, _), gradients = spiking.bptt(objective)(params, batch, jax.random.key(0))
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    state = {"params": params, "optimizer": optimizer.init(params)}

    def run():
        state["params"], state["optimizer"], loss = compiled(state["params"], state["optimizer"])
        return float(loss)

    return run, [run() for _ in range(3)]


serve(lambda case: {"layer": layer, "training": training}[case["kind"]](case))
