"""SIGINT and SIGTERM as a wish to stop: noted first, obeyed at once the second time."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_STOPPED = 75
"""The exit status of what was stopped by a signal and goes on with the same command."""


class Stopped(Exception):
    """SIGINT or SIGTERM came; what had been done is kept. Its text is for the user."""


@contextmanager
def noted_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second has its usual effect.

    Outside the main thread, which alone gets signals, the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def note(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
