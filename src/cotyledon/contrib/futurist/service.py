"""The service that users subclass.

Responsible for its arguments, for finding the tasks, and for what the manager calls. Whatever of
futurist is needed is loaded with this, in the master: tasks are marked by its decorator, so it is
there anyway, and what a worker imports by itself it shares with no other one.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from cotyledon import Service
from cotyledon.contrib.futurist import _find
from cotyledon.contrib.futurist._periodics import Periodics
from cotyledon.contrib.futurist._task import ON_ONE_WORKER

_Task = TypeVar("_Task", bound=Callable[..., Any])


class Partition(Protocol):
    """Which keys are one worker's: what ``cotyledon.contrib.tooz`` has, or a test."""

    def owns(self, key: str | bytes) -> bool:
        """Return whether a key is this worker's, now."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have a function called after other keys may have become this worker's."""
        ...


class Share(Protocol):
    """What gives each worker its partition: what ``cotyledon.contrib.tooz`` has, or a test."""

    def partition(self, worker_id: int) -> Partition:
        """Return the partition of a worker."""
        ...


def on_one_worker(task: _Task) -> _Task:
    """Have a periodic task run on one worker only, of all those that share a partition.

    It may be above or below ``futurist.periodics.periodic``. The worker is the one that owns the
    key ``"SERVICE/TASK"``, by the names of both; each worker looks at each run whether that is
    itself. The service needs ``share=``.

    Args:
        task: a method or a function.

    Returns:
        The same, marked.
    """
    setattr(task, ON_ONE_WORKER, True)
    return task


class PeriodicService(Service):
    """Runs periodic tasks: its methods with ``futurist.periodics.periodic``, and other callables.

    Each task has a thread while it runs, so that none is delayed by another one; no task ever
    runs twice at the same time in a worker. A task that fails is logged and counted, and runs
    again a period later. A task that raises ``futurist.periodics.NeverAgain`` does not. One that
    raises ``SystemExit`` ends the worker with that status, after the other tasks that are running
    have returned.

    A subclass with an ``__init__`` has to call this one.

    Args:
        worker_id: given by the manager.
        tasks: functions or bound methods with the decorator, besides the methods of this class;
            they are called without arguments.
        share: what ``cotyledon.contrib.tooz.Group.add()`` passes: it makes :attr:`partition`.
        spread: whether a task runs at other instants in each worker, and than the other tasks: the
            periods of all workers on a machine are kept on one clock, each shifted by a fraction
            of the period that the worker id and the number of the task tell. If not, a task first
            runs one period after the start of its worker, and then one period after each start of
            its own.
        threads: how many tasks may run at a time (default: all of them).
        fail_after: after how many failures of a task in a row the worker ends with status 70
            (default: it never does for that).

    Raises:
        TypeError: one of ``tasks`` has no decorator, a task is a coroutine function, or
            an argument is of the wrong type.
        ValueError: there is no task, a period is not finite, ``threads`` or ``fail_after`` is less
            than 1, or a task is to run on one worker and there is no ``share``.
    """

    _periodics: Periodics | None = None
    _partition: Partition | None = None

    stopping: threading.Event
    """Set when the worker is to end. A task that takes long looks at it, or waits on it instead of
    sleeping."""

    def __init__(
        self,
        worker_id: int,
        *,
        tasks: Iterable[Callable[[], object]] = (),
        share: Share | None = None,
        spread: bool = True,
        threads: int | None = None,
        fail_after: int | None = None,
    ) -> None:
        super().__init__(worker_id)
        name = type(self).__name__
        if not isinstance(spread, bool):
            raise TypeError(f"{name}: 'spread' must be True or False, not: {spread!r}")
        _at_least_one(name, threads=threads, fail_after=fail_after)
        found = _find.tasks(self, tasks)
        if share is not None:
            self._partition = share.partition(worker_id)
        elif alone := [task.name for task in found if task.on_one_worker]:
            raise ValueError(
                f"{name}: {alone[0]} is to run on one worker, which takes a partition: "
                "add the service with cotyledon.contrib.tooz.Group.add(), which passes share="
            )
        self._periodics = Periodics(
            self, super().status, found, spread=spread, threads=threads, fail_after=fail_after
        )
        self.stopping = self._periodics.stopping

    @property
    def partition(self) -> Partition:
        """Which keys are this worker's.

        Raises:
            AttributeError: the service was made without ``share``.
        """
        if self._partition is None:
            raise AttributeError(
                f"{type(self).__name__} has no partition: "
                "add it with cotyledon.contrib.tooz.Group.add(), which passes share="
            )
        return self._partition

    def running(self) -> dict[str, float]:
        """Return the names of the tasks that are running, with the seconds since they began."""
        return {} if self._periodics is None else self._periodics.running()

    def status(self, text: str, figures: Mapping[str, float] | None = None) -> None:
        """Say what the service is doing, as any service may.

        The tasks that fail are named before the text, and the figures of the tasks are shown
        besides the given ones: see :doc:`/futurist`.

        Args:
            text: one line. Empty: nothing.
            figures: numbers by name. None: none.

        Raises:
            TypeError: ``text`` is no string, or ``figures`` are no numbers by name.
            ValueError: there are too many figures, or one has a name or a value that cannot be.
        """
        if self._periodics is None:
            super().status(text, figures)
        else:
            self._periodics.said(text, figures)

    def run(self) -> None:
        """Run the tasks until :meth:`terminate` is called.

        Raises:
            RuntimeError: ``__init__`` of this class was not called.
        """
        if self._periodics is None:
            raise RuntimeError(
                f"{type(self).__name__}.__init__() has to call "
                "super().__init__(worker_id), or there are no periodic tasks"
            )
        self._periodics.run()

    def terminate(self) -> None:
        """Begin no task any more, and wait for those that are running.

        Raises:
            SystemExit: a task has ended the worker, by ``SystemExit`` or by failing too often.
        """
        if self._periodics is not None:
            self._periodics.stop()


# Each subclass is named after itself, and not after this one.
PeriodicService.name = None


def _at_least_one(name: str, **numbers: int | None) -> None:
    for argument, number in numbers.items():
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name}: {argument!r} must be a whole number, not: {number!r}")
        if number < 1:
            raise ValueError(f"{name}: {argument!r} must be at least 1, not: {number!r}")
