"""Layer statistics while a run trains: `diagnose: {every: N}` in a config, a heat map in the report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from chainlab.autodiff.diagnosis.history import heat_map, layer_curves, thin
from chainlab.errors import UsageError
from chainlab.lab.journal import Journal
from chainlab.lab.loop import Replica
from chainlab.lab.task import Panel, Task
from chainlab.typing import Batch, Params, PRNGKey, State


class LayerHistory:
    """Records, every so many steps, what each layer's value and adjoint look like on the next batch.

    Lines go to `layers.jsonl` of the run folder; with several seeds it is the first that is looked at.

    Args:
        task: A task that names its subjects.
        every: Steps between two records.
        folder: The run folder.
        arrays: The task's data on the device.
        seeds: Number of seeds of the run.

    Raises:
        UsageError: The task names no subjects.
    """

    def __init__(self, task: Task, every: int, folder: Path, arrays: PyTree, seeds: int) -> None:
        if task.subjects is None:
            raise UsageError("diagnose: this experiment names no derivative to look at (`Task.subjects`)")
        self.every = every
        self._subjects = task.subjects
        self._data, self._arrays, self._seeds = task.data, arrays, seeds
        self.journal = Journal(folder / "layers.jsonl")
        self._curves: dict[str, tuple[list[str], Callable[..., Any]]] = {}

    def observe(self, step: int, replica: Replica) -> None:
        """Record the layers at a step."""
        one = replica if self._seeds == 1 else jax.tree.map(lambda leaf: leaf[0], replica)
        batch = self._data.gather(self._arrays, self._data.plan(one.order, jax.numpy.int32(step)))
        key = jax.random.fold_in(one.noise, step)
        rows: list[dict[str, Any]] = []
        for name, subject in self._subjects(one.state).items():
            arguments = (subject.params, one.state, batch, key)
            layers, curves = self._compiled(name, arguments)
            found = {kind: thin(np.asarray(curve, float)).tolist() for kind, curve in curves(*arguments).items()}
            rows.append({"step": step, "subject": name, "layers": len(layers), "curves": found})
        self.journal.append(rows)

    def _compiled(self, name: str, arguments: tuple[Any, ...]) -> tuple[list[str], Callable[..., Any]]:
        if name not in self._curves:

            def objective(params: Params, state: State, batch: Batch, key: PRNGKey) -> Any:
                return self._subjects(state)[name].objective(params, batch, key)

            layers, curves = layer_curves(objective, arguments, has_aux=True)
            self._curves[name] = layers, jax.jit(curves)
        return self._curves[name]


def layer_panels(folder: Path) -> Sequence[Panel]:
    """The heat maps of what a run recorded of its layers.

    Args:
        folder: The run folder.

    Returns:
        A panel a subject; none where nothing was recorded.
    """
    rows = Journal(folder / "layers.jsonl").rows()
    panels: list[Panel] = []
    for name in dict.fromkeys(row["subject"] for row in rows):
        mine = [row for row in rows if row["subject"] == name]
        curves = {kind: np.asarray([row["curves"][kind] for row in mine], float) for kind in mine[0]["curves"]}
        note = f"{mine[0]['layers']} layers of `{name}` on the batch of each step; more than 256 are averaged."
        panels.append(
            Panel(f"Layers over training: {name}", heat_map([row["step"] for row in mine], curves), note=note)
        )
    return panels
