"""Interruption: a signal asks the run to stop at the next block, with a checkpoint."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """The signal that asked the run to stop, if any."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or 0)


@contextmanager
def graceful() -> Generator[Interruption]:
    """Turn SIGINT and SIGTERM into a request; a second SIGINT stops at once.

    Outside the main thread, where Python delivers no signals, nothing is changed.
    """
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if asked.signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.signal = number

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
