"""Where a run first stopped being finite, found by replaying it."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from chainlab.lab.loop import Loop, Replica


def non_finite_leaves(tree: PyTree) -> Mapping[str, int]:
    """How many values of each floating leaf are not finite, by key path, where any is."""
    counts: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            count = int(jnp.sum(~jnp.isfinite(leaf)))
            if count:
                counts[jax.tree_util.keystr(path)] = count
    return counts


def first_row(rows: Mapping[str, Float[np.ndarray, "steps ..."]]) -> tuple[int | None, list[str]]:
    """The first step at which a metric is not finite.

    Args:
        rows: Metrics by name, steps first.

    Returns:
        Its place in the rows, or None; and the metrics that are not finite there.

    Example:
        >>> first_row({"loss": np.array([1.0, np.nan]), "accuracy": np.array([0.5, 0.5])})
        (1, ['loss'])
    """
    finite = {name: np.all(np.isfinite(row).reshape(len(row), -1), axis=1) for name, row in rows.items()}
    index = min((int(np.argmin(ok)) for ok in finite.values() if not ok.all()), default=None)
    return index, [] if index is None else [name for name, ok in finite.items() if not ok[index]]


def locate(loop: Loop, current: Replica, step: int, last: int, arrays: PyTree, metrics: Sequence[str]) -> str:
    """Replay steps one by one to the first whose state holds a value that is not finite.

    A run is a function of its start, so that nothing has to be watched while it is fast: the replay passes
    through the same states.

    Args:
        loop: The run's compiled functions.
        current: State at `step`; donated.
        step: Steps done in `current`.
        last: The step whose metrics were seen not to be finite.
        arrays: The data.
        metrics: The metrics that were not finite.

    Returns:
        What was not finite, where first, and what to do.
    """
    leaves: Mapping[str, int] = {}
    while step < last and not leaves:
        current, _ = loop.steps(current, step, 1, arrays)
        step += 1
        leaves = non_finite_leaves(current.state)
    lines = [f"  state{name}: {count} values" for name, count in leaves.items()]
    lines.append(f"  metrics of step {last}: {', '.join(metrics)}")
    return (
        f"step {step}: not finite:\n" + "\n".join(lines) + "\nLower the learning rate or clip the gradient; look for "
        "the cause with `chainlab diagnose` and `chainlab check`."
    )
