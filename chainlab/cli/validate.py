"""`chainlab validate`: check configs without running them."""

import click

from chainlab.cli.common import ConfigName, json_option, out, verb
from chainlab.errors import ConfigError


@verb(
    "chainlab validate mlp/digits",
    "chainlab validate configs/mlp/*.yaml",
    "chainlab validate mine.yaml optimizer.learning_rate=1e-2 --deep",
)
@click.argument("arguments", nargs=-1, required=True, type=ConfigName(), metavar="CONFIG... [KEY=VALUE ...]")
@click.option("--deep", is_flag=True, help="Also check names and arguments of optimisers, which imports JAX.")
@json_option
def command(arguments: tuple[str, ...], deep: bool, as_json: bool) -> None:
    """Check configs without running them: every mistake at once, each with its file, line and column."""
    from chainlab.lab.config.document import load

    configs = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    if not configs:
        raise click.UsageError("wanted a config before the overrides")
    problems: list[str] = []
    rows: list[dict[str, str]] = []
    for config in configs:
        try:
            found = load(config, overrides, deep=deep)
            rows.append({"config": str(found.path), "experiment": found.experiment.reference, "hash": found.hash})
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    lines = [f"{row['config']}: valid ({row['experiment']})" for row in rows]
    out(rows if as_json else "\n".join(lines), as_json=as_json)
