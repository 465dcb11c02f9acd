"""Write docs/reference/cli.md from the table of verbs and their help."""

from pathlib import Path

import click

from chainlab.cli.group import cli
from chainlab.cli.verbs import VERBS, available

PAGE = Path(__file__).with_name("reference") / "cli.md"
HEAD = """\
# The command line

Results go to stdout, as JSON with `--json`; talk and progress go to stderr. Exit codes: 0 done, 1 the run failed,
2 a usage or config error, 3 a claim is not met, 4 not reproduced, 130 and 143 interrupted with a checkpoint written.
`make docs` writes this page from what `chainlab VERB --help` says.
"""


def text() -> str:
    """The page, as it should be."""
    parts = [HEAD]
    for section, verbs in VERBS.items():
        parts.append(f"## {section}\n")
        for verb in (name for name in verbs if name in available()):
            command = cli.get_command(click.Context(cli), verb)
            assert command is not None
            context = click.Context(command, info_name=f"chainlab {verb}", terminal_width=100, max_content_width=100)
            parts.append(f"### {verb}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text())
