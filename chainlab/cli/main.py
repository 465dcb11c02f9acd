"""`chainlab`: a table of verbs; nothing but click is imported until one of them is used."""

import difflib
import importlib
import os
import sys
import traceback
from importlib.util import find_spec
from typing import Any

import click

from chainlab.errors import ChainlabError, ConfigError

# verb: its one line of help. A verb's module is `chainlab.cli.<verb>`, which holds a click command named
# `command`; a verb without a module is not shown.
VERBS = {
    "Runs": {
        "run": "Train what a config describes, into a new run folder.",
        "resume": "Continue an interrupted run, exactly.",
        "sweep": "Run every combination of a config's `sweep:`; finished ones are skipped.",
        "list": "List experiments, packaged configs and runs.",
        "show": "Print what a run recorded.",
        "compare": "Compare runs: results, curves and the difference of their configs.",
        "report": "Write a run's report, one HTML file.",
        "export": "Write a run's parameters for other programs.",
        "verify": "Run a config and check what it claims in `expect:`.",
        "reproduce": "Run a run again and compare every number.",
    },
    "Gradients": {
        "explain": "Show how a gradient comes about, node by node.",
        "check": "Check derivatives against finite differences.",
        "diagnose": "Name the first layer whose gradient vanishes, explodes or is not finite.",
        "bench": "Measure against peers, interleaved.",
    },
    "Models": {
        "generate": "Generate text from a trained transformer.",
        "drive": "Drive with a trained planner.",
        "federated": "Run a federation across processes.",
        "plan": "Plan the memory and devices of a config.",
    },
    "Configs and machine": {
        "new": "Start an experiment of your own: a module and a config that run at once.",
        "validate": "Check a config without running it.",
        "config": "Print an experiment's config with every default and its meaning.",
        "schema": "Print the JSON Schema of configs, for editors.",
        "doctor": "Show versions, devices, caches and where data is read from.",
        "completion": "Print the script that completes commands in a shell.",
    },
}


class Verbs(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs whose modules are there."""
        verbs = (verb for section in VERBS.values() for verb in section)
        return [verb for verb in verbs if find_spec(f"chainlab.cli.{verb}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"chainlab.cli.{cmd_name}").command
        command.name = cmd_name
        command.help = command.help or next(section[cmd_name] for section in VERBS.values() if cmd_name in section)
        if not any("-v" in option.opts for option in command.params):
            command.params.append(_verbose())
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a verb, or say which one may be meant."""
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f", did you mean {close[0]!r}?" if close else "; `chainlab --help` lists them"
            raise click.UsageError(f"no verb {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs by section, without importing them."""
        there = set(self.list_commands(ctx))
        for section, verbs in VERBS.items():
            rows = [(verb, text) for verb, text in verbs.items() if verb in there]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


def _verbose() -> click.Option:
    return click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, help="Show the traceback of an error.")


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from chainlab import __version__

        click.echo(f"chainlab {__version__}")
        ctx.exit()


_EPILOG = """\b
Examples:
  chainlab run mlp/digits
  chainlab run mlp/digits optimizer.learning_rate=1e-2 seeds=8
  chainlab new mine && chainlab run mine.yaml

`chainlab VERB --help` shows the options and examples of a verb."""

cli = Verbs(
    "chainlab",
    params=[
        _verbose(),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A laboratory for gradients: train, look at, check and reproduce from one YAML file.",
    epilog=_EPILOG,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code.

    0 done, 1 the run failed, 2 a usage or config error, 3 a claim is not met, 4 not reproduced, 130 and 143
    interrupted. Results go to stdout; everything else, errors included, to stderr.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    color = False if os.environ.get("NO_COLOR") else None
    try:
        outcome = cli.main(arguments, prog_name="chainlab", standalone_mode=False, color=color)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ChainlabError as error:
        _explain(error, arguments)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1


def _explain(error: ChainlabError, arguments: list[str]) -> None:
    if "-v" in arguments or "--verbose" in arguments:
        traceback.print_exception(error)
    if "--json" in arguments:
        import json

        problems = error.problems if isinstance(error, ConfigError) else [str(error)]
        click.echo(json.dumps({"error": type(error).__name__, "problems": problems}))
    if isinstance(error, ConfigError):
        click.echo("\n".join(error.problems), err=True)
        count = len(error.problems)
        click.echo(f"{count} mistake{'s' if count > 1 else ''}", err=True)
    else:
        click.echo(f"error: {error}", err=True)
