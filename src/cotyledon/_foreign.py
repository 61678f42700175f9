"""Running other people's code in the master: hooks, and the handlers behind a log line.

Responsible for containing what it raises, and for ending it when it hangs and the manager has to
stop: a signal handler raises :class:`Interrupted` in the main thread, inside that code. Never runs
any while a turn of the loop is under way.

What is stuck in C code cannot be interrupted from Python; the guard process holds there.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from logging import ERROR
from typing import Any

from cotyledon._say import say
from cotyledon.types import ReloadRefused

SECOND = 1_000_000_000
SLOW = 1 * SECOND
AT_LEAST = SECOND // 20
"""What a log line may take when there is no time left."""


class Interrupted(BaseException):
    """Raised inside code that must not go on. Not an Exception: hooks catch those."""


class Foreign:
    """The one place from which foreign code is called."""

    def __init__(self) -> None:
        self.deadline: int | None = None  # when it must have ended, because of a stop
        self._brief = False  # no call may hold up the stop, which goes on beside it
        self.alarms = 0  # SIGALRMs that were our own timer's, not yet taken off the record
        self._lines: list[tuple[Any, ...]] = []
        self._pid = os.getpid()
        self._mute = False  # the log has hung
        self._open = False  # foreign code is running and may be interrupted
        self._armed = False  # our timer is set

    def note(self, level: int, text: str, *args: Any, exc_info: Any = None) -> None:
        """Have a line logged by the next :meth:`tell`."""
        self._lines.append((level, text, args, exc_info))

    def tell(self) -> None:
        """Log what was noted. Where that hangs when time is short, it is not tried again."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        if self._mute:
            return
        try:
            self._call(_say_all, (lines,))
        except Interrupted:
            self._mute = True

    def call(
        self, kind: str, hooks: Iterable[Callable[..., object]], args: tuple[Any, ...]
    ) -> str | None:
        """Call hooks in order; one that fails, or is interrupted, skips those after it.

        Returns:
            Why what follows from them is not to be, if one of them says so.
        """
        for hook in hooks:
            if self.late:
                self.note(ERROR, "no time is left for the %s hook %r", kind, hook)
                return None
            started = time.monotonic_ns()
            try:
                self._call(hook, args)
            except Interrupted:
                self.note(ERROR, "the %s hook %r was interrupted to stop in time", kind, hook)
                return None
            except ReloadRefused as refusal:
                self.note(ERROR, "not reloaded: %s", refusal)
                return str(refusal)
            except BaseException as error:
                if os.getpid() != self._pid:
                    raise  # the hook has forked, and this is how its child ends
                text = "the %s hook %r failed, those after it are skipped"
                self.note(ERROR, text, kind, hook, exc_info=error)
                return None
            took = time.monotonic_ns() - started
            if took > SLOW:
                text = "the %s hook %r took %.1f s, in which nothing was supervised"
                self.note(ERROR, text, kind, hook, took / SECOND)
        return None

    @property
    def late(self) -> bool:
        """Whether no time is left for hooks."""
        return self.deadline is not None and time.monotonic_ns() >= self.deadline

    def _call(self, code: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            self._open = True
            self._arm()
            code(*args)
        finally:
            self._open = False
            if self._armed:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._armed = False

    def _arm(self) -> None:
        if self.deadline is not None:
            self._armed = True
            left = self.deadline - time.monotonic_ns()
            if self._brief:
                left = min(left, SLOW)
            signal.setitimer(signal.ITIMER_REAL, max(left, AT_LEAST) / SECOND)

    def be_brief(self, deadline: int) -> None:
        """From now on interrupt what takes longer than a second, at the latest at ``deadline``."""
        self.deadline = deadline
        self._brief = True

    # Called in signal handlers, in the main thread

    def limit(self, deadline: int) -> None:
        """Interrupt the code that is running, and any later, at ``deadline``."""
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
        """End the code that is running, if any."""
        if self._open:
            self._open = False
            raise Interrupted


def _say_all(lines: list[tuple[Any, ...]]) -> None:
    for level, text, args, exc_info in lines:
        say(level, text, *args, exc_info=exc_info)
