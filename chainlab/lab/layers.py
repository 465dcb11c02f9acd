"""Layer statistics while a run trains: `diagnose: {every: N}` in a config, a heat map in the report."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from chainlab.autodiff.diagnosis.history import heat_map, layer_curves, thin
from chainlab.errors import UsageError
from chainlab.lab.checkpoint import write_atomic
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
        self._file = folder / "layers.jsonl"
        self._curves: dict[str, tuple[list[str], Callable[..., Any]]] = {}

    def observe(self, step: int, replica: Replica) -> None:
        """Record the layers at a step."""
        one = replica if self._seeds == 1 else jax.tree.map(lambda leaf: leaf[0], replica)
        batch = self._data.gather(self._arrays, self._data.plan(one.order, jax.numpy.int32(step)))
        key = jax.random.fold_in(one.noise, step)
        lines: list[str] = []
        for name, subject in self._subjects(one.state).items():
            arguments = (subject.params, one.state, batch, key)
            layers, curves = self._compiled(name, arguments)
            found = {kind: thin(np.asarray(curve, float)).tolist() for kind, curve in curves(*arguments).items()}
            lines.append(json.dumps({"step": step, "subject": name, "layers": len(layers), "curves": found}) + "\n")
        with open(self._file, "a") as file:
            file.write("".join(lines))

    def _compiled(self, name: str, arguments: tuple[Any, ...]) -> tuple[list[str], Callable[..., Any]]:
        if name not in self._curves:

            def objective(params: Params, state: State, batch: Batch, key: PRNGKey) -> Any:
                return self._subjects(state)[name].objective(params, batch, key)

            layers, curves = layer_curves(objective, arguments, has_aux=True)
            self._curves[name] = layers, jax.jit(curves)
        return self._curves[name]

    def forget_after(self, step: int) -> None:
        """Drop what was recorded after a step; a run that is resumed there records it again."""
        if self._file.exists():
            kept = [row for row in _read(self._file) if row["step"] <= step]
            write_atomic(self._file, "".join(json.dumps(row) + "\n" for row in kept).encode())


def layer_panels(folder: Path) -> Sequence[Panel]:
    """The heat maps of what a run recorded of its layers.

    Args:
        folder: The run folder.

    Returns:
        A panel a subject; none where nothing was recorded.
    """
    file = folder / "layers.jsonl"
    rows = _read(file) if file.exists() else []
    panels: list[Panel] = []
    for name in dict.fromkeys(row["subject"] for row in rows):
        mine = [row for row in rows if row["subject"] == name]
        curves = {kind: np.asarray([row["curves"][kind] for row in mine], float) for kind in mine[0]["curves"]}
        note = f"{mine[0]['layers']} layers of `{name}` on the batch of each step; more than 256 are averaged."
        panels.append(
            Panel(f"Layers over training: {name}", heat_map([row["step"] for row in mine], curves), note=note)
        )
    return panels


def _read(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # the last line of a run that was killed while it wrote
            break
    return rows
