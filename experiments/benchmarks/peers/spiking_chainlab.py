"""chainlab's side of the spiking benchmarks."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import spiking_case
import spiking_jax
from worker import serve

from chainlab import nn, spiking

VARIANT = os.environ.get("SPIKING_VARIANT", "adjoint")


def neuron(size, semantics):
    """A LIF neuron as the peer defines it: when it resets, whether that is differentiated, the surrogate's height."""
    surrogate = spiking.Surrogate("arctan", scale=float(np.pi), height=semantics.get("height", 1.0))
    return spiking.lif(
        size,
        decay=0.95,
        timing=semantics.get("timing", "delayed"),
        detach=semantics.get("detach", True),
        surrogate=surrogate,
    )


def products(x, weight):
    """The two matrix products of a layer alone."""

    def run(weight, x):
        flat = x.reshape(-1, weight.shape[0])
        current = flat @ weight
        # the second product needs the first one's result, as the adjoint does
        return jnp.sum(current), flat.T @ current

    compiled = jax.jit(run)
    jax.block_until_ready(compiled(weight, x))
    return lambda: jax.block_until_ready(compiled(weight, x)), [0.0]


def layer(case):
    """Forward and backward of one layer: by the adjoint, recomputed, online, or its two matrix products alone."""
    x, weight = (jnp.asarray(a) for a in spiking_case.layer(case))
    if VARIANT == "products":
        return products(x, weight)
    size = case["size"]
    dense = spiking.dense_bfloat16(size, size) if VARIANT == "bfloat16" else nn.dense(size, size, bias=False)
    net = spiking.Network({"dense": dense, "lif": neuron(size, case["semantics"])})
    rules = {"checkpointed": spiking.checkpointed(case.get("memory", 10.0)), "online": spiking.online_trace}
    rule = rules.get(VARIANT, spiking.bptt)(spiking.Objective(net, spiking.total_output()))

    def gradient(weight, x):
        (value, _), gradients = rule({"dense": {"weight": weight}, "lif": {}}, {"x": x, "y": None}, jax.random.key(0))
        return value, gradients["dense"]["weight"]

    compiled = jax.jit(gradient).lower(weight, x).compile()
    run, outputs = spiking_jax.layer(compiled, weight, x, np.asarray)
    if case.get("outputs") == "memory":
        outputs = [compiled.memory_analysis().temp_size_in_bytes / 2**20]
    return run, outputs


def training(case):
    """Adam steps of 784-hidden-10 on a constant current."""
    x, y, first, second = spiking_jax.images(case)
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
    gradient = spiking.bptt(spiking.Objective(net, spiking.count_cross_entropy(), read))

    def value_and_grad(params):
        (loss, _), gradients = gradient(params, {"x": x, "y": y}, jax.random.key(0))
        return loss, gradients

    params = {
        "dense0": {"bias": jnp.zeros(case["hidden"]), "weight": first},
        "lif0": {},
        "dense1": {"bias": jnp.zeros(10), "weight": second},
        "lif1": {},
    }
    return spiking_jax.adam(value_and_grad, params, case["steps"])


serve(lambda case: {"layer": layer, "training": training}[case["kind"]](case))
