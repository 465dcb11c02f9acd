"""Errors that a person can act on: what, where, wanted, got, and the next step."""

import difflib
from collections.abc import Iterable
from typing import Any


def suggest(got: Any, known: Iterable[Any]) -> str:
    """The end of a message about an unknown word: the known one that may be meant, else nothing.

    Args:
        got: The word.
        known: What there is; only text counts.

    Returns:
        `, did you mean 'x'?`, or an empty string where no known word is close.

    Example:
        >>> suggest("widht", ["depth", "width"])
        ", did you mean 'width'?"
    """
    folded = {word.lower(): word for word in known if isinstance(word, str)}
    close = difflib.get_close_matches(got.lower(), folded, 1, 0.6) if isinstance(got, str) else []
    return f", did you mean {folded[close[0]]!r}?" if close else ""


class ChainlabError(Exception):
    """Base of every error that chainlab raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(ChainlabError, ValueError):
    """An argument, shape or option is not what the function takes."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file is wrong; `problems` holds one line a mistake, as `file:line:col: path: ...`."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(UsageError):
    """A data file is missing, truncated, mislabelled or not finite."""


class CheckpointError(ChainlabError):
    """A checkpoint is damaged or does not fit the state it is restored into."""


class NonFiniteError(ChainlabError):
    """A run produced a value that is not finite; names the first step and leaf."""


class ClaimError(ChainlabError):
    """A config's `expect:` claim is not met."""

    exit_code = 3


class ReproductionError(ChainlabError):
    """A run was not reproduced; names the first step and leaf that differ."""

    exit_code = 4


class MissingDependencyError(ChainlabError, ImportError):
    """An optional library is needed for this call."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}: pip install 'chainlab[{extra}]'")


class MissingDataError(DataError):
    """A data set is not on this machine; says where it was looked for and how to get it."""
