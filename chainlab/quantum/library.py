"""PennyLane, imported when it is first needed: the import alone costs seconds."""

import contextlib
import warnings
from collections.abc import Generator
from types import ModuleType

import jax

from chainlab.compat import restore_removed_symbols
from chainlab.errors import MissingDependencyError


def pennylane() -> ModuleType:
    """PennyLane itself.

    Raises:
        MissingDependencyError: It cannot be imported.
    """
    restore_removed_symbols()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PennyLane warns of JAX releases that it was not tested with
            import pennylane as library
    except ImportError as error:
        raise MissingDependencyError("PennyLane", "quantum", "chainlab.quantum") from error
    return library


@contextlib.contextmanager
def library_numerics() -> Generator[None]:
    """Run PennyLane's own arithmetic under JAX's default promotion rules, which it relies on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
