"""Claims: a run's results held against its config's `expect:`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainlab.lab.config.envelope import Claim


def judge(claims: Sequence[Claim], summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Hold a run's results against its config's claims.

    Args:
        claims: The claims; each speaks of a final metric, or of an entry of the summary such as `seconds` or
            `peak_memory_mib`.
        summary: What `run.json` holds.

    Returns:
        `metric`, `goal`, `value` (the mean over seeds), `spread` (their standard deviation), `values` (one a seed) and
        `met`, one a claim.
    """
    judged: list[dict[str, Any]] = []
    for claim in claims:
        found = summary["final"].get(claim.metric, summary.get(claim.metric))
        values = np.atleast_1d(np.asarray(np.nan if found is None else found, float))
        value = float(np.mean(values))
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        judged.append(
            {
                "metric": claim.metric,
                "goal": claim.goal,
                "value": value,
                "spread": spread,
                "values": values.tolist(),
                "met": claim.met(values.tolist()),
            }
        )
    return judged
