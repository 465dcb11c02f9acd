"""Small circuits to look at: `chainlab explain chainlab.quantum.examples:rotation 0.5`."""

from typing import Any

from jaxtyping import Array, Float

from chainlab.quantum.expectation import expectation
from chainlab.quantum.library import pennylane


def rotation(angle: Float[Array, ""] | float) -> Float[Array, ""]:
    r"""One rotation about X, observed along Z: $\langle Z \rangle = \cos \theta$, differentiated by parameter shift.

    Args:
        angle: The angle in radians.

    Returns:
        The expectation.

    Example:
        >>> import jax
        >>> round(float(jax.grad(rotation)(0.5)), 6)
        -0.479426
    """

    def circuit(angle: Any) -> Any:
        pennylane().RX(angle, wires=0)
        return pennylane().expval(pennylane().Z(0))

    return expectation(circuit)(angle)
