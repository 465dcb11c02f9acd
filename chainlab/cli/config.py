"""`chainlab config`: every default of an experiment."""

from pathlib import Path

import click

from chainlab.cli.common import ExperimentName, out, verb
from chainlab.errors import UsageError


@verb("chainlab config mlp > mlp.yaml && chainlab run mlp.yaml", "chainlab config ./mine.py")
@click.argument("experiment", type=ExperimentName())
def command(experiment: str) -> None:
    """Print a full config of an experiment: every key with its default and, as a comment, its meaning."""
    from chainlab.lab.config import describe, reference

    try:
        found = reference.resolve(experiment, Path())
        out(describe.commented(found, experiment).rstrip("\n"))
    except reference.ResolveError as error:
        raise UsageError(str(error)) from error
