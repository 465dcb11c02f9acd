"""The verbs as a click group whose commands are imported when they are asked for."""

import importlib
from typing import Any

import click

from chainlab.cli.verbs import available, meaning, overview
from chainlab.errors import suggest


class Verbs(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs whose modules are there."""
        return available()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in available():
            return None
        command: click.Command = importlib.import_module(f"chainlab.cli.{cmd_name}").command
        command.name = cmd_name
        command.help = command.help or meaning(cmd_name)
        command.context_settings.setdefault("help_option_names", ["-h", "--help"])
        if not any("-v" in parameter.opts for parameter in command.params):
            command.params.append(_verbose())
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a verb, or say which one may be meant."""
        if args[0] not in available():
            hint = suggest(args[0], available()) or "; `chainlab --help` lists them"
            raise click.UsageError(f"no verb {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        """The overview, which needs no verb to be imported."""
        return overview()


def _verbose() -> click.Option:
    return click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, help="Show the traceback of an error.")


cli = Verbs(
    "chainlab",
    params=[_verbose()],
    options_metavar="",
    subcommand_metavar="VERB [ARGUMENTS]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
