"""What a service says that it is doing, on its way to the master.

Responsible for telling it at a bounded rate, and for the last text arriving. Never blocks;
callable from any thread and from signal handlers. It has no timer: the main thread, or the loop,
asks it when to call it again.
"""

import os
import threading
import time
from collections.abc import Callable

from cotyledon._posix import channel

LONGEST = 200
"""Characters of a text."""
PAUSE = 100_000_000
"""Nanoseconds between two messages."""


class Saying:
    """The texts of one worker.

    Args:
        fd: where they go (-1: nowhere).
        wake: has :meth:`flush` called in the main thread, soon.
    """

    def __init__(self, fd: int, wake: Callable[[], None]) -> None:
        self._fd = fd
        self._wake = wake
        self._lock = threading.RLock()  # a signal handler of the program may say something
        self._text: str | None = None  # not told yet
        self._told = ""
        self._next_at = 0

    def say(self, text: str) -> None:
        """Tell a text, now or soon."""
        line = "".join(c if c.isprintable() else " " for c in text[:LONGEST])
        with self._lock:
            held_back = self._text is not None
            self._text = line
            if held_back or self.flush() is None:
                return  # it is told, or the main thread knows
        self._wake()

    def flush(self) -> float | None:
        """Tell what was held back, if that may be; return after how many seconds it may be."""
        text = self._text
        if text is None:
            return None  # as nearly always: without a lock and a look at the clock
        with self._lock:
            text, now = self._text, time.monotonic_ns()
            if text is None:
                return None
            if now >= self._next_at:
                self._next_at = now + PAUSE
                if text == self._told or self._tell(text):
                    self._text, self._told = None, text
                    return None
            return (self._next_at - now) / 1e9

    def finish(self) -> None:
        """Tell what was held back: the worker ends."""
        text, self._text = self._text, None
        if text is not None:
            self._tell(text)

    def _tell(self, text: str) -> bool:
        return self._fd < 0 or channel.send(self._fd, channel.StatusMessage(os.getpid(), text))
