"""Hybrid classifiers, each with the twins that keep one honest: without entanglement, and without quantum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn import Model, dense, mlp
from chainlab.quantum.expectation import expectation
from chainlab.quantum.library import pennylane
from chainlab.typing import Params, PRNGKey


def _over_batch(function: Callable[..., Array], x: Array, key: PRNGKey | None) -> Array:
    """Apply `function(row, key)` over any leading axes of `x`."""
    rows = x.reshape(-1, x.shape[-1])
    keys = None if key is None else jax.random.split(key, len(rows))
    found = jax.vmap(function, (0, None if key is None else 0))(rows, keys)
    return found.reshape(*x.shape[:-1], found.shape[-1])


def dressed_circuit(qubits: int, layers: int, entangled: bool) -> Callable[[Array, Array], Any]:
    """The circuit of `dressed`: angles of the input, then layers of rotations and rings of CNOT.

    Args:
        qubits: Number of qubits.
        layers: Number of layers.
        entangled: Whether there are CNOTs.

    Returns:
        `circuit(x, angles)`, which returns the expectation of Z on each qubit.
    """

    def circuit(x: Array, angles: Array) -> Any:
        library = pennylane()
        library.AngleEmbedding(x, wires=range(qubits), rotation="Y")
        for layer in range(layers):
            for wire in range(qubits):
                library.Rot(*angles[layer, wire], wires=wire)
            if entangled and qubits > 1:
                distance = 1 + layer % (qubits - 1)
                for wire in range(qubits):
                    library.CNOT(wires=[wire, (wire + distance) % qubits])
        return [library.expval(library.Z(wire)) for wire in range(qubits)]

    return circuit


def reuploading_circuit(inputs: int, qubits: int, layers: int, entangled: bool) -> Callable[[Array, Array, Array], Any]:
    """The circuit of `reuploading`: every layer turns each qubit by three scaled and shifted features.

    The turns are about Y, Z and Y. About Z, Y and Z, the first of all turns would find the qubit on its axis and the
    last be invisible to the measurement of Z: two thirds of the features would have one upload less. Each layer deals
    the features out from the next one on, so that each turns about both axes.

    Args:
        inputs: Number of features.
        qubits: Number of qubits.
        layers: Number of uploads.
        entangled: Whether rings of CZ lie between the uploads.

    Returns:
        `circuit(x, scales, angles)`, which returns the expectation of Z on each qubit.
    """
    deal = (np.arange(3 * qubits) + np.arange(layers)[:, None]) % max(inputs, 1)

    def circuit(x: Array, scales: Array, angles: Array) -> Any:
        library = pennylane()
        turns = scales * jnp.asarray(x)[deal].reshape(layers, qubits, 3) + angles
        for layer in range(layers):
            for wire in range(qubits):
                for rotation, turn in zip((library.RY, library.RZ, library.RY), turns[layer, wire], strict=True):
                    rotation(turn, wires=wire)
            if entangled and layer < layers - 1 and qubits > 1:
                for wire in range(qubits if qubits > 2 else 1):
                    library.CZ(wires=[wire, (wire + 1) % qubits])
        return [library.expval(library.Z(wire)) for wire in range(qubits)]

    return circuit


def dressed(
    inputs: int, outputs: int, *, qubits: int = 4, layers: int = 2, entangled: bool = True, **options: Any
) -> Model:
    r"""A dressed quantum circuit: $W_2 \langle Z \rangle(\tfrac{\pi}{2} \tanh(W_1 x + b_1)) + b_2$.

    Args:
        inputs: Number of features.
        outputs: Number of outputs.
        qubits: Number of qubits.
        layers: Rotations (and, when entangled, rings of CNOT) in the circuit.
        entangled: Whether the circuit has the CNOTs; without them it is the twin that no quantum computer needs.
        **options: Of `expectation` (`gradient`, `shots`, `device`, ...).

    Returns:
        A model with parameters `encode`, `angles` (layers, qubits, 3) and `decode`.

    References:
        Mari et al., Transfer learning in hybrid classical-quantum neural networks, arXiv:1912.08278, equation 9.
    """
    encode, decode = dense(inputs, qubits), dense(qubits, outputs)

    f = expectation(dressed_circuit(qubits, layers, entangled), **options)

    def init(key: PRNGKey) -> Params:
        first, second, third = jax.random.split(key, 3)
        angles = jax.random.uniform(second, (layers, qubits, 3), maxval=2 * np.pi)
        return {"angles": angles, "decode": decode.init(third), "encode": encode.init(first)}

    def apply(params: Params, x: Float[Array, "*batch inputs"], *, key: PRNGKey | None = None) -> Array:
        hidden = jnp.tanh(encode.apply(params["encode"], x)) * (jnp.pi / 2)
        seen = _over_batch(lambda row, k: jnp.stack(f(row, params["angles"], key=k)), hidden, key)
        return decode.apply(params["decode"], seen)

    return Model(init, apply)


def reuploading(
    inputs: int, outputs: int, *, qubits: int = 4, layers: int = 3, entangled: bool = True, **options: Any
) -> Model:
    r"""Data re-uploading: every layer turns each qubit by $R_Y(t_3) R_Z(t_2) R_Y(t_1)$, $t = w \odot x + \theta$.

    The features are dealt out three to a qubit, in each layer from the next one on; where they are fewer than that,
    they start over.

    Args:
        inputs: Number of features, at most three to a qubit.
        outputs: Number of outputs.
        qubits: Number of qubits.
        layers: Number of uploads.
        entangled: Whether rings of CZ lie between the uploads.
        **options: Of `expectation`.

    Returns:
        A model with parameters `angles`, `scales` (layers, qubits, 3) and `decode`.

    Raises:
        UsageError: More features than the qubits take.

    References:
        Perez-Salinas et al., Data re-uploading for a universal quantum classifier, arXiv:1907.02085, equation 8.
    """
    if inputs > 3 * qubits:
        raise UsageError(
            f"reuploading takes three features to a qubit: {inputs} features need {-(-inputs // 3)} qubits"
        )
    decode = dense(qubits, outputs)
    f = expectation(reuploading_circuit(inputs, qubits, layers, entangled), **options)

    def init(key: PRNGKey) -> Params:
        first, second, third = jax.random.split(key, 3)
        shape = (layers, qubits, 3)
        return {
            "angles": jax.random.uniform(first, shape, minval=-np.pi, maxval=np.pi),
            "decode": decode.init(third),
            "scales": jax.random.normal(second, shape) / layers,
        }

    def apply(params: Params, x: Float[Array, "*batch inputs"], *, key: PRNGKey | None = None) -> Array:
        def one(row: Array, k: PRNGKey | None) -> Array:
            return jnp.stack(f(row, params["scales"], params["angles"], key=k))

        return decode.apply(params["decode"], _over_batch(one, x, key))

    return Model(init, apply)


def equal_mlp(inputs: int, outputs: int, model: Model, *, activation: str = "tanh") -> Model:
    """An MLP with one hidden layer and as nearly as can be the number of parameters of another model.

    Args:
        inputs: Number of features.
        outputs: Number of outputs.
        model: The model to match.
        activation: Activation of the hidden layer.

    Returns:
        The MLP.

    Example:
        >>> import jax
        >>> from chainlab.quantum import dressed, equal_mlp, parameter_count
        >>> hybrid = dressed(4, 2)
        >>> parameter_count(hybrid), parameter_count(equal_mlp(4, 2, hybrid))
        (54, 51)
    """
    width = max(1, round((parameter_count(model) - outputs) / (inputs + 1 + outputs)))
    return mlp([inputs, width, outputs], activation=activation)


def parameter_count(model: Model) -> int:
    """Number of a model's parameters."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def quantum_kernel(qubits: int, *, layers: int = 2, **options: Any) -> Callable[..., Float[Array, "n m"]]:
    r"""The fidelity kernel $k(x, y) = |\langle \phi(x) | \phi(y) \rangle|^2$ of an IQP embedding.

    Args:
        qubits: Number of qubits, one to a feature.
        layers: Repetitions of the embedding.
        **options: Of `expectation`.

    Returns:
        `kernel(X, Y)`, the matrix over the rows of two batches; differentiable in both.

    References:
        Havlicek et al., Supervised learning with quantum-enhanced feature spaces, arXiv:1804.11326, section II.
    """

    def circuit(x: Array, y: Array) -> Any:
        library = pennylane()
        library.IQPEmbedding(x, wires=range(qubits), n_repeats=layers)
        library.adjoint(library.IQPEmbedding)(y, wires=range(qubits), n_repeats=layers)
        return library.expval(library.Projector([0] * qubits, wires=range(qubits)))

    f = expectation(circuit, **options)

    def kernel(X: Float[Array, "n qubits"], Y: Float[Array, "m qubits"]) -> Float[Array, "n m"]:
        return jax.vmap(lambda x: jax.vmap(lambda y: f(x, y))(Y))(X)

    return kernel
