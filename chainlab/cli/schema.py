"""`chainlab schema`: the JSON Schema of configs."""

from pathlib import Path

import click

from chainlab.cli.common import ExperimentName, out, verb
from chainlab.errors import UsageError


@verb(
    "chainlab schema mlp > .mlp.schema.json",
    "chainlab schema > .schema.json      # every experiment that is installed",
    "",
    "The first line of a config then tells the editor:",
    "# yaml-language-server: $schema=.schema.json",
)
@click.argument("experiments", nargs=-1, type=ExperimentName(), metavar="[EXPERIMENT...]")
def command(experiments: tuple[str, ...]) -> None:
    """Print the JSON Schema of the configs of experiments, with the meaning of every key, for editors."""
    from chainlab.lab.config import describe, reference

    try:
        found = [reference.resolve(name, Path()) for name in experiments or reference.names()]
        out(describe.schema(found), as_json=True)
    except reference.ResolveError as error:
        raise UsageError(str(error)) from error
