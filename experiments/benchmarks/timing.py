"""What benchmarks that time functions of this process share."""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any


def alternate(timed: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each function, called in turn with the order reversed every other round, after one call of each.

    Args:
        timed: The functions by name; each waits for its own work.
        rounds: Calls of each that are timed.

    Returns:
        Seconds by name and round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for function in timed.values():
        function()
    for turn in range(rounds):
        for name in list(timed)[:: 1 if turn % 2 == 0 else -1]:
            began = time.perf_counter()
            timed[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


@contextlib.contextmanager
def uncached() -> Generator[None]:
    """Compile without the persistent cache: the block measures the compiler, not a file that is read."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX reads once whether it is enabled
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()
