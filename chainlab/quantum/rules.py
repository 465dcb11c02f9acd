"""Shift rules of gates: derivatives as sums of the same circuit at other angles."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from chainlab.quantum.library import bind, constant_numerics, pennylane

_DENSE_WIRES = 5  # frequencies of gates up to this size are read off their matrix
_RESOLUTION = 1e-9  # frequencies closer than this are one


def spectrum(gate: Any, index: int) -> tuple[float, ...] | None:
    r"""Frequencies of an expectation value in one angle of a gate, from the gate's matrix.

    Where $U(b) U(a)^\dagger$ depends on $b - a$ alone, $U(\theta) = e^{-i \theta G} V$ and the frequencies are
    the differences between the eigenvalues of $G$.

    Args:
        gate: A PennyLane operator whose parameters are numbers.
        index: Which of its parameters.

    Returns:
        The positive frequencies in ascending order, or None where the angle has no such form.

    References:
        Wierichs et al., General parameter-shift rules for quantum gradients, arXiv:2107.12390, section 2.
    """
    library = pennylane()
    if isinstance(gate, library.ops.Evolution):
        levels = np.linalg.eigvalsh(np.asarray(gate.base.matrix(), np.complex128))
    else:

        def matrix(angle: float) -> NDArray[np.complex128]:
            data = [angle if i == index else value for i, value in enumerate(gate.data)]
            return np.asarray(library.matrix(bind(gate, data), wire_order=gate.wires), np.complex128)

        step = 0.02
        turn = matrix(0.3 + step) @ matrix(0.3).conj().T
        if not np.allclose(turn, matrix(-0.9 + step) @ matrix(-0.9).conj().T, atol=1e-12):
            return None
        levels = -np.angle(np.linalg.eigvals(turn)) / step
    gaps = np.sort(np.abs(levels[:, None] - levels[None, :]).ravel())
    gaps = gaps[gaps > _RESOLUTION]
    if not gaps.size:
        return ()
    groups = np.split(gaps, np.flatnonzero(np.diff(gaps) > _RESOLUTION) + 1)
    exact = np.array([np.mean(group) for group in groups])
    tidy = np.round(exact, 6)  # 0.5 rather than 0.49999999999998, where the matrix means 0.5
    return tuple(np.where(np.abs(exact - tidy) < 1e-11, tidy, exact).tolist())


def shift_rule(gate: Any, index: int) -> Float[np.ndarray, "_ 3"] | None:
    r"""The rule of one angle of a gate: $f'(\theta) = \sum_i c_i f(m_i \theta + s_i)$.

    The gate's own `grad_recipe` comes first, then the frequencies that its matrix shows (PennyLane rounds
    computed frequencies to eight decimals, and some wrappers have none), then its `parameter_frequencies`.

    Args:
        gate: A PennyLane operator whose parameters are numbers.
        index: Which of its parameters.

    Returns:
        Rows `(c, m, s)`, none for an angle that cannot be observed; or None where the angle has no rule.

    Example:
        >>> import pennylane as qml
        >>> shift_rule(qml.RX(0.3, wires=0), 0).round(4).tolist()
        [[0.5, 1.0, 1.5708], [-0.5, 1.0, -1.5708]]

    References:
        Schuld et al., Evaluating analytic gradients on quantum hardware, arXiv:1811.11184, equation 2;
        Wierichs et al., General parameter-shift rules for quantum gradients, arXiv:2107.12390, equation 30.
    """
    recipes = getattr(gate, "grad_recipe", None)
    if recipes and recipes[index] is not None:
        return np.asarray(recipes[index], float).reshape(-1, 3)
    if isinstance(gate, pennylane().operation.Channel):
        return None  # a channel without a recipe has no frequencies
    with constant_numerics():
        frequencies = None
        if len(gate.wires) <= _DENSE_WIRES:
            frequencies = spectrum(gate, index)
        if frequencies is None:
            try:
                frequencies = tuple(float(f) for f in gate.parameter_frequencies[index])
            except Exception:  # PennyLane has several exceptions for "undefined"
                return None
        if not frequencies:
            return np.zeros((0, 3))
        coefficients, shifts = pennylane().gradients.generate_shift_rule(frequencies).T
    return np.stack([coefficients, np.ones_like(shifts), shifts], axis=1)
