"""The library of NIR, and the checks of what both directions take."""

from typing import Any

from chainlab.errors import MissingDependencyError, UsageError


def library(dt: float) -> Any:
    """The module `nir`.

    Args:
        dt: Length of a step, in seconds.

    Returns:
        The module.

    Raises:
        UsageError: `dt` is no positive time.
        MissingDependencyError: The library is not installed.
    """
    if not dt > 0:
        raise UsageError(f"dt must be a positive time, got {dt}")
    try:
        import nir
    except ImportError as error:
        raise MissingDependencyError("nir", "spiking", "Reading and writing NIR graphs") from error
    return nir
