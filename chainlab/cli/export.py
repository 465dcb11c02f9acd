"""`chainlab export`: a run as one file, for another machine or for other programs."""

from pathlib import Path

import click

from chainlab.cli.common import OutputFile, out, run_argument, verb
from chainlab.errors import UsageError


@verb(
    "chainlab export latest                              # one archive; elsewhere: chainlab reproduce FILE.zip",
    "chainlab export runs/mlp/20261124-101500-1a2b3c4d --to digits.zip",
    "chainlab export RUN --format safetensors --to model.safetensors --seed 2",
)
@run_argument
@click.option(
    "--format", "kind", type=click.Choice(["archive", "safetensors"]), help="`archive`, unless --to says otherwise."
)
@click.option("--to", type=OutputFile(), help="The file to write.")
@click.option("--seed", type=click.IntRange(min=0), help="Whose parameters to write; the first seed's by default.")
def command(run: str, kind: str | None, to: Path | None, seed: int | None) -> None:
    """Pack RUN as one zip archive: its folder, the lock of its packages, and a hash of every file.

    --format safetensors writes its parameters alone, as a file that PyTorch opens: those of the best evaluation
    where the run monitored one, else the last.
    """
    from chainlab.lab.runs import find

    folder = find(run).path
    kind = kind or ("safetensors" if to is not None and to.suffix == ".safetensors" else "archive")
    if kind == "archive":
        from chainlab.lab.archive import pack

        if seed is not None:
            raise UsageError("--seed chooses parameters, of --format safetensors; an archive holds all seeds")
        out(str(pack(folder, to)))
        return
    from chainlab.interop import save_tensors
    from chainlab.lab.trained import parameters

    params, about = parameters(folder, seed)
    path = to or folder / f"parameters.{kind}"
    save_tensors(params, path, about)
    out(str(path))
