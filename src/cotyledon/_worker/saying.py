"""What a service says that it is doing, on its way to the master.

Responsible for telling it at a bounded rate, and for the last one arriving. Never blocks;
callable from any thread and from signal handlers. It has no timer: the main thread, or the loop,
asks it when to call it again.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cotyledon._posix import channel

LONGEST = 200
"""Characters of a text."""
PAUSE = 100_000_000
"""Nanoseconds between two messages."""


class Said(NamedTuple):
    """One call of a service."""

    text: str
    figures: Mapping[str, float]


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
        self._waiting: Said | None = None  # not told yet
        self._told = Said("", {})
        self._next_at = 0

    def say(self, text: str, figures: Mapping[str, float]) -> None:
        """Tell a text and figures, now or soon."""
        line = "".join(c if c.isprintable() else " " for c in text[:LONGEST])
        with self._lock:
            held_back = self._waiting is not None
            self._waiting = Said(line, figures)
            if held_back or self.flush() is None:
                return  # it is told, or the main thread knows
        self._wake()

    def flush(self) -> float | None:
        """Tell what was held back, if that may be; return after how many seconds it may be."""
        waiting = self._waiting
        if waiting is None:
            return None  # as nearly always: without a lock and a look at the clock
        with self._lock:
            waiting, now = self._waiting, time.monotonic_ns()
            if waiting is None:
                return None
            if now >= self._next_at:
                self._next_at = now + PAUSE
                if waiting == self._told or self._tell(waiting):
                    self._waiting, self._told = None, waiting
                    return None
            return (self._next_at - now) / 1e9

    def finish(self) -> None:
        """Tell what was held back: the worker ends."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._tell(waiting)

    def _tell(self, said: Said) -> bool:
        return self._fd < 0 or channel.send(
            self._fd, channel.StatusMessage(os.getpid(), said.text, said.figures)
        )
