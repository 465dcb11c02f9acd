import jax
import pennylane as qml
import quantum_case
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
    return quantum_case.timed(gradient, case)


serve(prepare)
