r"""Does the working dtype still give the gradient?

The gradient at the working dtype is held against the same program in float64. Rounding the
arguments and constants alone already moves it by about $\epsilon\, |H|\, |x|$; a finding needs an error
beyond that and beyond half of the digits of the dtype:

$$|g_i - \hat g_i| > \sqrt\epsilon\, |g_i| + 64\, \epsilon\, (\max_j |g_j| + (|H| |x|)_i) + 16\, \epsilon\, |f| / s_i.$$

The last term is the slope below which the value itself, at this dtype, would not move over the scale $s_i$.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from chainlab.autodiff.checking.arguments import Arguments
from chainlab.autodiff.checking.derivative import Derivative

_PROBE = 2.0**-20
_PROBES = 2


def tolerance(
    derivative: Derivative,
    arguments: Arguments,
    point: np.ndarray,
    exact: np.ndarray,
    value: float,
    spacing: float,
) -> np.ndarray:
    """Largest rounding error of each coordinate that is not held against the program.

    Args:
        derivative: The gradient.
        arguments: The differentiated leaves.
        point: Where.
        exact: The gradient there.
        value: The function there.
        spacing: Machine epsilon of the narrowest float of the program.

    Returns:
        The tolerances, by coordinate.
    """
    random = np.random.default_rng(0)
    moved = np.zeros_like(exact)
    for _ in range(_PROBES):

        def nudge(value: Any) -> Any:
            if not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
                return value
            return value * (1 + _PROBE * random.choice([-1.0, 1.0], np.shape(value)))

        shifted = derivative.exact(nudge(point), [nudge(c) for c in derivative.constants])[1]
        change = np.abs(shifted - exact) / _PROBE
        moved = np.maximum(moved, np.where(np.isfinite(change), change, 0.0))
    largest = np.zeros_like(exact)
    for leaf in arguments.leaves:
        part = np.abs(exact[leaf.start : leaf.stop])
        largest[leaf.start : leaf.stop] = np.max(part, where=np.isfinite(part), initial=0.0)
    unseen = 16 * spacing * abs(value) / arguments.spans()
    return np.sqrt(spacing) * np.abs(exact) + 64 * spacing * (largest + moved) + unseen + 1e-30
