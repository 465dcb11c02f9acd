import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
from worker import serve

warnings.simplefilter("ignore")
MODE = os.environ["CHAINLAB_MODE"]


def device(qubits):
    if MODE.startswith("lightning"):
        return qml.device("lightning.qubit", wires=qubits)
    if MODE in ("seeded", "best"):
        return qml.device("default.qubit", seed=jax.random.PRNGKey(0))
    return qml.device("default.qubit")


def prepare(case):
    """The same gradient by PennyLane, in the configuration that `CHAINLAB_MODE` names."""
    wires = range(case["qubits"])
    method = {"backprop": "backprop", "lightning-adjoint": "adjoint"}.get(MODE, "parameter-shift")
    options = {"gradient_kwargs": {"broadcast": True}} if MODE in ("best", "broadcast") else {}

    @qml.qnode(device(case["qubits"]), diff_method=method, interface="jax", **options)
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=wires)
        qml.StronglyEntanglingLayers(w, wires=wires)
        return qml.expval(qml.Z(0))

    gradient = jax.grad(circuit, argnums=1)
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
