"""The persistent compile cache, and what compiling cost."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import jax.monitoring

from chainlab.lab.cache import cache_folder


def use_cache() -> None:
    """Keep every compiled program, however quick it was to compile, unless the user chose a cache."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@dataclass
class Compilation:
    """What was compiled while it was watched."""

    seconds: float = 0.0
    programs: int = 0
    cache_hits: int = 0


@contextmanager
def watch() -> Generator[Compilation]:
    """Count compilations, their seconds and the cache's hits within a block."""
    seen = Compilation()

    def on_event(event: str, **_: str | int) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            seen.cache_hits += 1

    def on_duration(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.seconds += duration_secs
            seen.programs += 1

    jax.monitoring.register_event_listener(on_event)
    jax.monitoring.register_event_duration_secs_listener(on_duration)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_listener(on_event)
        jax.monitoring.unregister_event_duration_listener(on_duration)
