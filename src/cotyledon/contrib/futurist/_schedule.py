"""When tasks run.

Responsible for the instants, and for futurist's worker that keeps them. Never runs a task itself,
and never counts. What futurist's own strategies do not offer is added where futurist has a place
for it: a table of strategies in a class.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from futurist import periodics

from cotyledon.contrib.futurist._task import Task

_CLOSEST = 0.4
"""Periods from one start to the next, at least: those that are meant are half a period apart."""


def phase(worker_id: int, number: int) -> float:
    """Return where in a period a worker runs its task of a number: at least 0, less than 1.

    The workers are spread by halves, and the tasks of a worker by thirds, so that the first few of
    both never meet.
    """
    return (_fraction(worker_id, 2) + _fraction(number, 3)) % 1.0


def _fraction(number: int, base: int) -> float:
    """Return the number whose digits are those of another one in reverse (van der Corput).

    In base 2: 0, 1/2, 1/4, 3/4, 1/8, ... However many of these are taken, they are about evenly
    spread, and none depends on how many there are. Of N no two are closer than half of what an
    even spread would leave between them, and no gap is twice that or more.
    """
    value, digit = 0.0, 1.0
    while number:
        number, last = divmod(number, base)
        digit /= base
        value += last * digit
    return value


class Call:
    """What futurist calls: a task at its instants.

    Args:
        task: whose period it is.
        perform: runs a task.
        place: how far into a period it runs, as a fraction; ``None``: a period after each start.
        now: tells the time.
    """

    _is_periodic = True
    # Futurist submits an immediate call again without a pause when no thread can be had.
    _periodic_run_immediately = False

    def __init__(
        self,
        task: Task,
        perform: Callable[[Task], None],
        place: float | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.__name__ = task.name
        self._task = task
        self._perform = perform
        self._periodic_spacing = task.spacing
        self._shift = None if place is None else place * task.spacing
        self._running = threading.Lock()
        self._earliest = -math.inf
        self._now = now

    def __call__(self) -> None:
        """Perform the task, unless that is a mistake.

        When no thread can be had, a pool raises although it may run the call later in another
        thread, and futurist submits it again, once in a second. All of these calls would follow
        each other when there are threads again, or run beside each other.
        """
        if self._running.acquire(blocking=False):
            try:
                now = self._now()
                if now >= self._earliest:
                    self._earliest = now + _CLOSEST * self._task.spacing
                    self._perform(self._task)
            finally:
                self._running.release()

    def first(self, now: float) -> float:
        """Return the first instant."""
        if self._task.immediately:
            return now
        if self._shift is None:
            return now + self._task.spacing
        return self._instant(math.floor((now - self._shift) / self._task.spacing) + 1)

    def after(self, started: float) -> float:
        """Return the instant after a run that began then.

        It is the one closest to a period later: at least half a period is between two runs, and
        what was missed is not made up for. A run that took longer than that is followed by the
        next at once.
        """
        if self._shift is None:
            return started + self._task.spacing
        return self._instant(round((started - self._shift) / self._task.spacing + 1))

    def _instant(self, number: int) -> float:
        assert self._shift is not None
        return number * self._task.spacing + self._shift


def _first(call: Any, now: float) -> float:
    return float(call.first(now))


def _after(call: Any, started_at: float, finished_at: float, metrics: object) -> float:
    return float(call.after(started_at))


class Scheduler(periodics.PeriodicWorker):
    """Futurist's worker, with the instants of :class:`Call` and a pool of its own.

    Args:
        calls: what is called.
        threads: how many may run at a time.
    """

    BUILT_IN_STRATEGIES = {  # noqa: RUF012  (as it is there)
        **periodics.PeriodicWorker.BUILT_IN_STRATEGIES,
        "call": (_after, _first),
    }

    def __init__(self, calls: Iterable[Call], threads: int) -> None:
        super().__init__(
            [(call, None, None) for call in calls],
            # Not futurist's own pool: each idle thread of that wakes up once in a second, and it
            # takes as long to shut down.
            executor_factory=lambda: ThreadPoolExecutor(threads, thread_name_prefix="task"),
            schedule_strategy="call",
        )
