"""Membership inference: what a model's losses tell about who was in its training."""

import numpy as np
from jaxtyping import Float

from chainlab.errors import UsageError


def membership_advantage(members: Float[np.ndarray, " members"], others: Float[np.ndarray, " others"]) -> float:
    r"""The advantage of the best attack that calls low losses members, $\max_t P(l < t | in) - P(l < t | out)$.

    It is the true positive rate less the false positive rate at the best threshold: 0 tells nothing, 1 everything. An
    $(\varepsilon, \delta)$-private model bounds it by $\frac{e^\varepsilon - 1 + 2 \delta}{e^\varepsilon + 1}$, up to
    the noise of the sample.

    Args:
        members: Losses of examples (or clients) that were trained on.
        others: Losses of as good as the same ones that were not.

    Returns:
        The advantage, in [0, 1].

    Raises:
        UsageError: A side is empty or not finite.

    Example:
        >>> membership_advantage(np.array([0.1, 0.2, 0.9]), np.array([0.5, 0.8, 1.0]))
        0.6666666666666666

    References:
        Yeom et al., Privacy Risk in Machine Learning, arXiv:1709.01604, definition 4; the bound: Humphries et al.,
        Investigating Membership Inference Attacks under Data Dependencies, arXiv:2010.12112, theorem 3.1.
    """
    sides = [np.sort(np.asarray(side, float)) for side in (members, others)]
    if not all(len(side) and np.all(np.isfinite(side)) for side in sides):
        raise UsageError("membership_advantage: wanted finite losses of members and of others, got none or not finite")
    thresholds = np.concatenate(sides)
    below = [np.searchsorted(side, thresholds, side="right") / len(side) for side in sides]
    return float(max(0.0, np.max(below[0] - below[1])))
