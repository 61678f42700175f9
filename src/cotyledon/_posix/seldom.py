"""Lines for the log that repeat, told once in a while.

Responsible for a bounded rate of equal lines, and for the number of those that were left out.
Never logs anything itself, never waits.
"""

import time
from collections.abc import Callable
from typing import Any


class Seldom:
    """Passes on the first of equal lines, and the next one after a pause.

    Args:
        say: logs a line.
    """

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._quiet: dict[str, tuple[int, int]] = {}  # line -> until when, and how many left out

    def say(self, pause: int, level: int, text: str, *args: Any, exc_info: Any = None) -> None:
        """Log a line, unless an equal one was logged less than ``pause`` nanoseconds ago."""
        line = text % args
        now = time.monotonic_ns()
        until, left_out = self._quiet.get(line, (0, 0))
        if now < until:
            self._quiet[line] = until, left_out + 1
            return
        self._quiet = {one: rest for one, rest in self._quiet.items() if rest[0] > now}
        self._quiet[line] = now + pause, 0
        more = f" (and {left_out} times more since the last such line)" if left_out else ""
        self._say(level, "%s%s", line, more, exc_info=exc_info)
