"""Checking a derivative that a task names."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import chainlab

if TYPE_CHECKING:
    from chainlab.autodiff import Report
    from chainlab.lab.task import Subject
    from chainlab.typing import Batch, Objective, Params, PRNGKey


def check_subject(subject: "Subject", batch: "Batch", key: "PRNGKey", **options: Any) -> "Report":
    """Check a subject's derivative by its parameters against float64 differences.

    With a `reference` the declared derivative is compared with that of the reference. Where only `why` is given,
    the objective holds a custom rule whose sum over a whole program is the derivative of nothing (a surrogate in a
    spiking network): findings at staircases are then expected and become one note; any other finding stands.

    Args:
        subject: What to check.
        batch: The batch that it is checked on.
        key: Its randomness.
        **options: As in `chainlab.check`.

    Returns:
        The report.

    Example:
        >>> import jax.numpy as jnp
        >>> square = chainlab.Subject(lambda p, batch, key: (jnp.sum(p**2 * batch), {}), jnp.array([1.0, 2.0]))
        >>> check_subject(square, jnp.array([1.0, 3.0]), None).ok
        True
    """

    def scalar(objective: "Objective") -> Any:
        def value(params: "Params", batch: "Batch", key: "PRNGKey") -> Any:
            return objective(params, batch, key)[0]

        return value

    reference = None if subject.reference is None else scalar(subject.reference)
    report = chainlab.check(
        scalar(subject.objective), subject.params, batch, key, reference=reference, argnums=0, **options
    )
    if reference is not None or not subject.why:
        return report
    rest = [finding for finding in report.findings if finding.kind != "surrogate"]
    declared = len(report.findings) - len(rest)
    note = f"{declared} coordinates have a declared derivative: {subject.why}"
    return replace(report, findings=rest, notes=[*report.notes, note] if declared else report.notes)
