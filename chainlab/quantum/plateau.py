"""Barren plateaus: how fast gradients vanish with the number of qubits."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from chainlab.errors import UsageError
from chainlab.quantum.matrices import complex_dtype
from chainlab.typing import PRNGKey


class Slope(NamedTuple):
    """A fitted slope with its confidence interval."""

    value: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


def _layers(axes: Array, angles: Array, qubits: int) -> Array:
    """The state after layers of random single-qubit rotations and ladders of CZ, scanned over the layers."""
    index = np.arange(2**qubits)
    ladder = jnp.asarray(1.0 - 2.0 * (np.bitwise_count(index & index >> 1) & 1), angles.dtype)
    dtype = complex_dtype([angles])
    paulis = jnp.asarray(np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]), dtype)
    half = np.pi / 8
    start = np.array([np.cos(half), np.sin(half)])
    state = np.ones(1)
    for _ in range(qubits):
        state = np.kron(state, start)

    def layer(state: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        axis, angle = inputs
        cosine, sine = jnp.cos(angle / 2).astype(dtype), jnp.sin(angle / 2).astype(dtype)
        eye = jnp.eye(2, dtype=dtype)
        gates = cosine[:, None, None] * eye[None] - 1j * sine[:, None, None] * paulis[axis]
        for wire in range(qubits):
            split = state.reshape(2**wire, 2, -1)
            low, high = split[:, 0], split[:, 1]
            gate = gates[wire]
            state = jnp.stack([gate[0, 0] * low + gate[0, 1] * high, gate[1, 0] * low + gate[1, 1] * high], axis=1)
            state = state.reshape(-1)
        return state * ladder.astype(dtype), None

    return jax.lax.scan(layer, jnp.asarray(state, dtype), (axes, angles))[0]


def plateau_cost(qubits: int, cost: str) -> Callable[..., Float[Array, ""]]:
    r"""The expectation of a random circuit, $\langle O \rangle$ after the layers of `plateau_gradient`.

    Args:
        qubits: Number of qubits, at least 2.
        cost: `global` for Z on every qubit, `local` for $Z_0 Z_1$.

    Returns:
        `value(angles, axes)`, both of shape (layers, qubits); an axis is 0, 1 or 2 for X, Y or Z.

    Raises:
        UsageError: The cost is unknown or there are fewer than two qubits.
    """
    if qubits < 2:
        raise UsageError(f"a barren plateau needs at least 2 qubits, got {qubits}")
    observed = {"global": qubits, "local": 2}
    if cost not in observed:
        raise UsageError(f"cost must be one of {', '.join(observed)}, got {cost!r}")
    read = np.arange(2**qubits) >> (qubits - observed[cost])  # the bits of the wires that are read
    table = 1.0 - 2.0 * (np.bitwise_count(read) & 1)

    def value(angles: Float[Array, "layers qubits"], axes: Int[Array, "layers qubits"]) -> Float[Array, ""]:
        state = _layers(axes, angles, qubits)
        return jnp.asarray(table, angles.dtype) @ (jnp.square(state.real) + jnp.square(state.imag))

    return value


def plateau_gradient(qubits: int, depth: int, cost: str) -> Callable[[PRNGKey], Float[Array, ""]]:
    r"""One draw of a random circuit's derivative by its first angle, by parameter shift.

    $\prod_l \left( \prod \mathrm{CZ} \prod_q R_{a_{lq}}(\theta_{lq}) \right) R_Y(\pi/4)^{\otimes n} |0\rangle$ with
    random axes and angles. Once the circuit is deep enough to scramble the register, the variance of the
    derivative of any Pauli word falls like $2^{-n}$; in shallow circuits that of a local word does not.

    Args:
        qubits: Number of qubits, at least 2.
        depth: Number of layers.
        cost: See `plateau_cost`.

    Returns:
        `gradient(key)`.

    References:
        McClean et al., Barren plateaus in quantum neural network training landscapes, arXiv:1803.11173, figure 3;
        Cerezo et al., Cost function dependent barren plateaus in shallow circuits, arXiv:2001.00550, theorems 1 and 2.
    """
    value = plateau_cost(qubits, cost)

    def gradient(key: PRNGKey) -> Array:
        axis_key, angle_key = jax.random.split(key)
        axes = jax.random.randint(axis_key, (depth, qubits), 0, 3)
        angles = jax.random.uniform(angle_key, (depth, qubits), maxval=2 * np.pi)

        def at(angle: Array) -> Array:
            return value(angles.at[0, 0].set(angle), axes)

        up, down = jax.vmap(at)(angles[0, 0] + jnp.array([0.5, -0.5], angles.dtype) * jnp.pi)
        return (up - down) / 2

    return gradient


def slope_interval(qubits: Sequence[int], samples: Float[Array, "sizes draws"], *, z: float = 1.96) -> Slope:
    r"""Slope of $\ln \mathrm{Var}$ against the number of qubits, by least squares, with a confidence interval.

    The logarithm of a variance from $N$ draws has variance $(\kappa - 1) / N$ with the kurtosis $\kappa$ (delta
    method); the slope is a fixed combination of independent logarithms.

    Args:
        qubits: Numbers of qubits.
        samples: Draws of the derivative, one row a number of qubits.
        z: Half-width of the interval in standard errors; 1.96 for 95 %.

    Returns:
        The slope and the interval's ends.
    """
    sizes = np.asarray(qubits, float)
    centred = sizes - sizes.mean()
    weights = jnp.asarray(centred / (centred @ centred), samples.dtype)
    deviations = samples - jnp.mean(samples, axis=1, keepdims=True)
    variance = jnp.mean(jnp.square(deviations), axis=1)
    kurtosis = jnp.mean(deviations**4, axis=1) / jnp.square(variance)
    slope = weights @ jnp.log(variance)
    error = jnp.sqrt(jnp.square(weights) @ ((kurtosis - 1) / samples.shape[1]))
    return Slope(slope, slope - z * error, slope + z * error)
