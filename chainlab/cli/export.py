"""`chainlab export`: a run's parameters for other programs."""

from pathlib import Path

import click

from chainlab.cli.common import out, verb
from chainlab.errors import UsageError


@verb("chainlab export runs/mlp/20261124-101500-1a2b3c4d", "chainlab export RUN --to model.safetensors --seed 2")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["safetensors"]), default="safetensors", show_default=True)
@click.option("--to", type=click.Path(path_type=Path), help="The file to write; in the run folder by default.")
@click.option("--seed", type=click.IntRange(min=0), help="Which of the run's seeds; the first by default.")
def command(run: Path, kind: str, to: Path | None, seed: int | None) -> None:
    """Write the parameters of RUN (its folder) as a safetensors file, which PyTorch opens.

    The parameters are those of the best evaluation where the run monitored one, else the last.
    """
    from chainlab.interop import save_tensors
    from chainlab.lab.trained import parameters

    params, about = parameters(run, seed)
    path = to or run / f"parameters.{kind}"
    if not path.parent.is_dir():
        raise UsageError(f"--to {path}: there is no folder {path.parent}")
    save_tensors(params, path, about)
    out(str(path))
