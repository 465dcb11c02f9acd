"""PennyLane, imported when it is first needed: the import alone costs seconds."""

import contextlib
import warnings
from collections.abc import Generator, Sequence
from types import ModuleType
from typing import Any

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


@contextlib.contextmanager
def constant_numerics() -> Generator[None]:
    """As `library_numerics`, and JAX computes at once what depends on constants alone, also while it traces."""
    with library_numerics(), jax.ensure_compile_time_eval():
        yield


def bind(operator: Any, data: Sequence[Any]) -> Any:
    """The operator with other parameters.

    PennyLane's own function loses its place in time evolutions, whose Hamiltonian has coefficients that are not
    parameters.

    Args:
        operator: A PennyLane operator.
        data: Its new parameters.

    Returns:
        The new operator.
    """
    library = pennylane()
    if isinstance(operator, library.ops.Evolution):
        return library.ops.Evolution(operator.base, data[0])
    if isinstance(operator, library.ops.Adjoint):
        return library.adjoint(bind(operator.base, data))
    if type(operator) is library.ops.ControlledOp:
        return library.ctrl(
            bind(operator.base, data), control=operator.control_wires, control_values=operator.control_values
        )
    return library.ops.functions.bind_new_parameters(operator, data)
