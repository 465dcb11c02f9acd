"""`chainlab`: the entry point, which turns outcomes and errors into exit codes."""

import os
import sys

from chainlab.cli.verbs import overview


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code.

    0 done, 1 the run failed, 2 a usage or config error, 3 a claim is not met, 4 not reproduced, 130 and 143
    interrupted. Results go to stdout; everything else, errors included, to stderr.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    completing = "_CHAINLAB_COMPLETE" in os.environ
    if arguments in (["--help"], ["-h"]) and not completing:
        print(overview())
        sys.exit(0)
    if arguments == ["--version"]:
        from chainlab import __version__

        print(f"chainlab {__version__}")
        sys.exit(0)
    if not arguments and not completing:
        print(overview(), file=sys.stderr)
        sys.exit(2)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    import click

    from chainlab.cli.group import cli
    from chainlab.errors import ChainlabError

    verbose = "-v" in arguments or "--verbose" in arguments
    try:
        color = False if os.environ.get("NO_COLOR") else None
        outcome = cli.main(arguments, prog_name="chainlab", standalone_mode=False, color=color)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else 0
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
        _tell(error, verbose=verbose, as_json="--json" in arguments)
        return error.exit_code
    except Exception:  # a mistake in the user's experiment or in chainlab: the traceback is the message
        import traceback

        traceback.print_exc()
        return 1


def _tell(error: Exception, *, verbose: bool, as_json: bool) -> None:
    import click

    if verbose:
        import traceback

        traceback.print_exception(error)
    problems: list[str] | None = getattr(error, "problems", None)  # of a ConfigError
    if as_json:
        import json

        click.echo(json.dumps({"error": type(error).__name__, "problems": problems or [str(error)]}))
    if problems:
        count = len(problems)
        click.echo("\n".join([*problems, f"{count} mistake{'s' if count > 1 else ''}"]), err=True)
    else:
        click.echo(f"error: {error}", err=True)
