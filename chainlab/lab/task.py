"""The task: a trainable problem as pure functions. It is all that the runner knows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from chainlab.data.batches import Data
from chainlab.typing import Batch, Metrics, Objective, Params, PRNGKey, State


class Subject(NamedTuple):
    """A derivative of a task that `explain`, `check` and `diagnose` can look at.

    Attributes:
        objective: What is differentiated.
        params: The point at which it is.
        reference: A smooth objective whose derivative this one declares (a surrogate's relaxation), if any.
        why: Why the derivative is not that of the objective itself: beside a `reference`, or alone where a
            surrogate inside the objective has no reference for the whole.
    """

    objective: Objective
    params: Params
    reference: Objective | None = None
    why: str = ""


class Panel(NamedTuple):
    """A part of a run's report that an experiment contributes.

    Attributes:
        title: Heading of the panel.
        figure: A matplotlib figure, or None.
        rows: A table, as rows by column name.
        note: A sentence under it.
    """

    title: str
    figure: Any = None
    rows: Sequence[Mapping[str, Any]] = ()
    note: str = ""


@dataclass(frozen=True)
class Task:
    """A trainable problem as pure functions.

    Attributes:
        init: `init(key) -> state`: parameters, optimiser state and whatever else must survive a restart.
        step: `step(state, batch, key) -> (state, metrics)`; jitted and scanned by the runner.
        evaluate: `evaluate(state, split) -> metrics`, over a whole evaluation split.
        data: The batches and the splits.
        subjects: `subjects(state) -> {name: Subject}`, the derivatives inside the step.
        panels: `panels(state, folder) -> panels`, what the report shows beyond curves; may write files
            into the run's folder. Runs on the host once, at the end.
    """

    init: Callable[[PRNGKey], State]
    step: Callable[[State, Batch, PRNGKey], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch], Metrics]
    data: Data
    subjects: Callable[[State], Mapping[str, Subject]] | None = None
    panels: Callable[[State, Path], Sequence[Panel]] | None = None
