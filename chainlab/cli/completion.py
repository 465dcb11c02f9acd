"""`chainlab completion`: the script that completes commands in a shell."""

import click

from chainlab.cli.common import out, verb


@verb(
    'eval "$(chainlab completion bash)"      # in ~/.bashrc',
    'eval "$(chainlab completion zsh)"       # in ~/.zshrc',
    "chainlab completion fish > ~/.config/fish/completions/chainlab.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes verbs, options, configs and experiments in a shell."""
    from click.shell_completion import get_completion_class

    from chainlab.cli.group import cli

    completer = get_completion_class(shell)
    assert completer is not None
    out(completer(cli, {}, "chainlab", "_CHAINLAB_COMPLETE").source())
