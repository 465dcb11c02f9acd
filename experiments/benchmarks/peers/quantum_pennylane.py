import os
import warnings

import jax
import pennylane as qml
import quantum_case
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
    return quantum_case.timed(gradient, case)


serve(prepare)
