import os

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
from worker import serve

from chainlab.quantum import expectation


def prepare(case):
    """The gradient of `<Z0>` after an angle embedding and strongly entangling layers, by parameter shift."""
    wires = range(case["qubits"])

    def circuit(x, w):
        qml.AngleEmbedding(x, wires=wires)
        qml.StronglyEntanglingLayers(w, wires=wires)
        return qml.expval(qml.Z(0))

    gradient = jax.grad(expectation(circuit), argnums=1)
    x, w = jnp.asarray(case["x"], jnp.float32), jnp.asarray(case["w"], jnp.float32)
    if case["batch"] > 1:
        gradient = jax.vmap(gradient, (0, None))
    gradient = jax.jit(gradient)
    outputs = jax.block_until_ready(gradient(x, w))
    inner = int(os.environ.get("CHAINLAB_INNER", "1"))

    def step():
        for _ in range(inner):
            jax.block_until_ready(gradient(x, w))

    return step, np.ravel(outputs).tolist()


serve(prepare)
