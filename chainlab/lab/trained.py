"""What a run has trained: its task, its state and its parameters."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainlab.errors import UsageError
from chainlab.lab import checkpoint
from chainlab.lab.config import Document
from chainlab.lab.loop import build
from chainlab.lab.record import Record
from chainlab.lab.surroundings import load_run
from chainlab.lab.task import Task
from chainlab.typing import State


def trained(folder: Path, seed: int | None = None) -> tuple[Document, Task, State]:
    """Load what a run has trained.

    Args:
        folder: The run folder.
        seed: Which of the run's seeds; the first when None.

    Returns:
        The run's config, its task, and the state of the best evaluation where one was monitored, else the last.

    Raises:
        UsageError: The folder is no run, or the run has no such seed.
        CheckpointError: The run has no whole checkpoint.
    """
    record = Record.open(folder)
    document = load_run(folder)
    task, seeds = document.task(), document.envelope.replicas
    if seed is not None and seed not in seeds:
        raise UsageError(f"{folder} has no seed {seed}: it trained {', '.join(map(str, seeds))}")
    name, path = ("best", record.best) if record.best.exists() else ("last", next(iter(record.checkpoints()), None))
    if path is None:
        raise UsageError(f"{folder} has no checkpoint yet")
    stored, _ = checkpoint.load(path)
    kept = {key: leaf for key, leaf in stored.items() if key.startswith(f"['{name}']")}
    template = jax.eval_shape(build(task, seeds, 1).start)
    state: State = checkpoint.fit(kept, {name: template}, source=str(path))[name].state
    if len(seeds) > 1:
        index = 0 if seed is None else seeds.index(seed)
        state = jax.tree.map(lambda leaf: leaf[index], state)
    return document, task, state


def parameters(folder: Path, seed: int | None = None) -> tuple[PyTree, dict[str, str]]:
    """The parameters that a run has trained: `state.params`, or every floating leaf where there is no such field.

    Args:
        folder: The run folder.
        seed: Which of the run's seeds; the first when None.

    Returns:
        The parameters, and the experiment and config hash as text.
    """
    document, _, state = trained(folder, seed)
    params: Any = getattr(state, "params", None)
    if params is None:
        paths = jax.tree_util.tree_flatten_with_path(state)[0]
        params = {jax.tree_util.keystr(p): leaf for p, leaf in paths if jnp.issubdtype(leaf.dtype, jnp.inexact)}
    return params, {"experiment": document.experiment.name, "config_hash": document.hash}
