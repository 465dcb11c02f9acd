import os

import jax
import jax.numpy as jnp
import quantum_case
import tensorcircuit as tc
from tensorcircuit import experimental
from worker import serve

tc.set_backend("jax")
MODE = os.environ["CHAINLAB_MODE"]


def prepare(case):
    """The same gradient by TensorCircuit: backprop, or its own parameter shift of the function's argument."""
    n, layers = case["qubits"], len(case["w"])

    def value(x, w):
        circuit = tc.Circuit(n)
        for wire in range(n):
            circuit.rx(wire, theta=x[wire])
        for layer in range(layers):
            for wire in range(n):
                circuit.rz(wire, theta=w[layer, wire, 0])
                circuit.ry(wire, theta=w[layer, wire, 1])
                circuit.rz(wire, theta=w[layer, wire, 2])
            for wire in range(n):
                circuit.cnot(wire, (wire + 1 + layer % (n - 1)) % n)
        return jnp.real(circuit.expectation_ps(z=[0]))

    if MODE == "shift":
        shift = experimental.parameter_shift_grad(jax.jit(lambda w, x: value(x, w)), argnums=0)  # 1 fails inside it
        gradient = lambda x, w: shift(w, x)  # noqa: E731
    else:
        gradient = jax.grad(value, argnums=1)
    return quantum_case.timed(gradient, case)


serve(prepare)
