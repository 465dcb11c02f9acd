"""What verbs share: arguments, help with examples, and the two streams."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.console import Console

_FILE_WIDTH = 160  # a table in a file or a pipe has no window to fit in
_Function = TypeVar("_Function", bound=Callable[..., Any])


def verb(*examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a verb whose help ends with examples.

    Args:
        examples: Commands to show, such as `chainlab run mlp/digits`.

    Returns:
        The decorator; the function's docstring is the help.

    Example:
        >>> @verb("chainlab greet")
        ... def command() -> None:
        ...     '''Say hello.'''
        >>> command.epilog.splitlines()[-1]
        '  chainlab greet'
    """
    epilog = "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)])
    return click.command(epilog=epilog)


class ConfigName(click.ParamType):
    """A config: a file, or the name of a packaged one. The shell completes both."""

    name = "config"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Packaged configs, and files."""
        from click.shell_completion import CompletionItem

        from chainlab.lab.config.locate import names

        packaged = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return [*packaged, CompletionItem(incomplete, type="file")]


class ExperimentName(click.ParamType):
    """An experiment: a short name, `./file.py[:function]` or `module:function`."""

    name = "experiment"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Experiments that are installed, and files."""
        from click.shell_completion import CompletionItem

        from chainlab.lab.config.reference import names

        known = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return [*known, CompletionItem(incomplete, type="file")]


class RunName(click.ParamType):
    """A run: its folder, a part of its name that no other run has, or `latest`."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Runs in `runs/`, the latest first."""
        from click.shell_completion import CompletionItem

        folders = sorted((path.parent for path in Path("runs").glob("*/*/run.json")), key=lambda path: path.name)
        return [CompletionItem(str(path)) for path in reversed(folders) if str(path).startswith(incomplete)]


class OutputFile(click.Path):
    """A file to write: that its folder is there, and its suffix right, is known before anything is computed.

    Args:
        suffixes: What the name may end in, such as `.svg`; anything when none is given.
    """

    def __init__(self, *suffixes: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path: Any = super().convert(value, param, ctx)
        if self.suffixes and path.suffix not in self.suffixes:
            self.fail(f"wanted a file that ends in {' or '.join(self.suffixes)}, got {path}", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}", param, ctx)
        return path


def run_argument(function: _Function) -> _Function:
    """`RUN`: a run folder, a part of a run's name, or `latest`, as `run`."""
    return click.argument("run", type=RunName())(function)


def runs_argument(function: _Function) -> _Function:
    """`RUN RUN...`: two runs or more, as `runs`."""
    return click.argument("runs", type=RunName(), nargs=-1, required=True, metavar="RUN RUN...")(function)


def config_argument(function: _Function) -> _Function:
    """`CONFIG`: a file or the name of a packaged config, as `config`."""
    return click.argument("config", type=ConfigName())(function)


def overrides_argument(function: _Function) -> _Function:
    """`[a.b=value ...]`, as `overrides`."""
    return click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")(function)


def json_option(function: _Function) -> _Function:
    """`--json`: the result for machines on stdout, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function)


def out(result: Any, *, as_json: bool = False) -> None:
    """Print a result to stdout: text, or any plain data as JSON."""
    click.echo(json.dumps(result, indent=2, allow_nan=True) if as_json else result)


def talk(message: str) -> None:
    """Print a remark to stderr."""
    click.echo(message, err=True)


def console(*, stderr: bool = False) -> "Console":
    """A rich console on stdout or stderr; it respects `NO_COLOR` and `COLUMNS`, and is plain where nobody looks."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal or os.environ.get("COLUMNS") else _FILE_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)
