"""Running other people's code in the master: hooks.

Responsible for containing what they raise, and for ending one that hangs when the manager has to
stop: a signal handler raises :class:`Interrupted` in the main thread, inside the hook. Never runs
one while a turn of the loop is under way.

A hook that is stuck in C code cannot be interrupted from Python; the guard process holds there.
"""

import signal
import time
from collections.abc import Callable, Iterable
from logging import ERROR
from typing import Any

from cotyledon._say import say

SECOND = 1_000_000_000
SLOW = 1 * SECOND


class Interrupted(BaseException):
    """Raised inside a hook that must not go on. Not an Exception: hooks catch those."""


class Foreign:
    """The one place from which hooks are called."""

    def __init__(self) -> None:
        self.deadline: int | None = None  # when hooks must have ended, because of a stop
        self.alarms = 0  # SIGALRMs that were our own timer's, not yet taken off the record
        self._open = False  # a hook is running and may be interrupted
        self._armed = False  # our timer is set

    def call(self, kind: str, hooks: Iterable[Callable[..., object]], args: tuple[Any, ...]) -> None:
        """Call hooks in order; one that fails, or is interrupted, skips those after it."""
        for hook in hooks:
            started = time.monotonic_ns()
            if self.deadline is not None and started >= self.deadline:
                say(ERROR, "no time is left for the %s hook %r", kind, hook)
                return
            try:
                self._call(hook, args)
            except Interrupted:
                say(ERROR, "the %s hook %r was interrupted to stop in time", kind, hook)
                return
            except BaseException:
                say(
                    ERROR,
                    "the %s hook %r failed, those after it are skipped",
                    kind,
                    hook,
                    exc_info=True,
                )
                return
            took = time.monotonic_ns() - started
            if took > SLOW:
                say(
                    ERROR,
                    "the %s hook %r took %.1f s, in which nothing was supervised",
                    kind,
                    hook,
                    took / SECOND,
                )

    def _call(self, hook: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            self._open = True
            self._arm()
            hook(*args)
        finally:
            self._open = False
            if self._armed:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._armed = False

    def _arm(self) -> None:
        if self.deadline is not None:
            self._armed = True
            left = max(self.deadline - time.monotonic_ns(), 1_000_000)
            signal.setitimer(signal.ITIMER_REAL, left / SECOND)

    # Called in signal handlers, in the main thread

    def limit(self, deadline: int) -> None:
        """Interrupt the hook that is running, and any later one, at ``deadline``."""
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline
            if self._open:
                self._arm()

    def on_alarm(self) -> bool:
        """Tell whether a SIGALRM is that of our own timer, which it then answers."""
        if not self._armed:
            return False
        self._armed = False
        self.alarms += 1
        self.interrupt()
        return True

    def interrupt(self) -> None:
        """End the hook that is running, if any."""
        if self._open:
            self._open = False
            raise Interrupted
