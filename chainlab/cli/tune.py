"""`chainlab tune`: time settings outside the program on a config's own steps."""

import dataclasses

import click

from chainlab.cli.common import config_argument, console, json_option, out, overrides_argument, talk, verb


@verb("chainlab tune transformer/shakespeare", "chainlab tune mlp/digits --rounds 9 --json")
@config_argument
@overrides_argument
@click.option("--rounds", type=click.IntRange(min=2), default=5, show_default=True, help="Interleaved rounds.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="Of one timing."
)
@json_option
def command(config: str, overrides: tuple[str, ...], rounds: int, seconds: float, as_json: bool) -> int:
    """Time the allocator's settings on the steps of CONFIG, and let `chainlab run` use the one that pays.

    Nothing that is computed changes: all settings must give the same numbers. A setting pays when it is quicker in
    every round, and by 3 % in the middle one. It is remembered for this config on this machine; `run` says when it
    uses one, and CHAINLAB_SETTINGS=default leaves it out.
    """
    from chainlab.lab import tuning
    from chainlab.lab.config import load

    document = load(config, overrides)
    talk(f"timing {1 + len(tuning.SETTINGS)} settings: leave the machine alone meanwhile")
    trials = tuning.tune(document, rounds=rounds, seconds=seconds)
    if as_json:
        out([{**dataclasses.asdict(trial), "pays": trial.pays} for trial in trials], as_json=True)
        return 0
    from rich.table import Table

    table = Table("setting", "speed", "range", "peak MiB", "used from now on", title=f"{document.name}, default = 1")
    for rank, trial in enumerate(trials):
        used = "yes" if rank == 0 and trial.pays else "no"
        span = f"{trial.lowest:.3f} .. {trial.highest:.3f}"
        table.add_row(trial.setting, f"{trial.speed:.3f}", span, f"{trial.peak_mib:.0f}", used)
    console().print(table)
    return 0
