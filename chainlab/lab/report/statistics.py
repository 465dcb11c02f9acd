"""Mean and confidence interval over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainlab.errors import UsageError


@dataclass(frozen=True)
class Summary:
    """A result over seeds.

    Attributes:
        mean: The mean.
        half_width: Half of the 95 % confidence interval of the mean; None for a single seed.
        low: The smallest value.
        high: The largest value.
    """

    mean: float
    half_width: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.half_width is None:
            return f"{self.mean:.4g}"
        return f"{self.mean:.4g} ± {self.half_width:.2g}"


def summarize(values: Sequence[float]) -> Summary:
    r"""Mean and 95 % confidence interval, $\bar x \pm t_{0.975,\,n-1}\, s / \sqrt n$.

    Args:
        values: One value a seed.

    Returns:
        The summary.

    Raises:
        UsageError: There are no values.

    Example:
        >>> str(summarize([0.96, 0.97, 0.98]))
        '0.97 ± 0.025'

    References:
        Student, The Probable Error of a Mean, Biometrika 6, 1908.
    """
    if not values:
        raise UsageError("summarize needs at least one value")
    half_width = None
    if len(values) > 1:
        from scipy.special import stdtrit

        error = np.std(values, ddof=1) / np.sqrt(len(values))
        half_width = float(stdtrit(len(values) - 1, 0.975) * error)
    return Summary(float(np.mean(values)), half_width, min(values), max(values))
