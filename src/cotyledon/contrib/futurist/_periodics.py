"""The tasks of one worker, from the start to the end.

Responsible for running them, for what follows when one fails, for what is said of them, and for
their end. Never decides at which instants they run.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from futurist.periodics import NeverAgain

from cotyledon import Service
from cotyledon.contrib.futurist._figures import figures_of
from cotyledon.contrib.futurist._schedule import Call, Scheduler, phase
from cotyledon.contrib.futurist._task import Task, line_of

if TYPE_CHECKING:
    from cotyledon.contrib.futurist.service import PeriodicService

LOG = logging.getLogger("cotyledon.futurist")

FAILED = 70
"""The exit status after too many failures in a row: EX_SOFTWARE."""
_REPEAT = 1.0
"""Seconds after which it is said again what a worker that is to end waits for, and since when."""


class _Said(NamedTuple):
    """What the service says of itself."""

    text: str = ""
    figures: Mapping[str, float] | None = None


class Periodics:
    """Runs the tasks of a service.

    Args:
        service: whose tasks they are.
        tell: tells a text and figures.
        tasks: what is run.
        spread: whether each worker has other instants.
        threads: how many tasks may run at a time; ``None``: all.
        fail_after: how many failures in a row end the worker; ``None``: none do.
    """

    def __init__(
        self,
        service: "PeriodicService",
        tell: Callable[[str, Mapping[str, float] | None], None],
        tasks: Sequence[Task],
        *,
        spread: bool,
        threads: int | None,
        fail_after: int | None,
    ) -> None:
        self.stopping = threading.Event()
        self._service = service
        self._tell = tell
        self._tasks = tasks
        self._spread = spread
        self._threads = threads
        self._fail_after = fail_after
        # Re-entrant: a signal handler of the program may call status().
        self._lock = threading.RLock()
        self._said = _Said()
        self._changes = 0
        """Of what is said: of the counts, of the state, of what the service says."""
        self._scheduler: Scheduler | None = None
        self._ended = threading.Event()
        self._exit: SystemExit | None = None

    # The life

    def run(self) -> None:
        """Run the tasks until they are stopped; the last of them has returned then."""
        with self._lock:
            if self.stopping.is_set():
                return
            calls = [
                Call(
                    task,
                    self._perform,
                    phase(self._service.worker_id, number) if self._spread else None,
                )
                for number, task in enumerate(self._tasks)
            ]
            # A task never runs twice at a time: as many threads as tasks are enough.
            self._scheduler = Scheduler(calls, self._threads or max(1, len(calls)))
        try:
            self._publish()  # figures are there from the beginning
            self._scheduler.start(allow_empty=True)
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Begin no task any more, and wait for those that are running.

        Raises:
            SystemExit: one has ended the worker.
        """
        self._begin_no_more()
        if self._scheduler is not None:
            self._publish()
            while not self._ended.wait(_REPEAT):
                self._publish()
        if self._exit is not None:
            raise self._exit

    def _begin_no_more(self) -> None:
        with self._lock:
            self.stopping.set()
            self._changes += 1
        if self._scheduler is not None:
            self._scheduler.stop()

    def _end(self, status: SystemExit) -> None:
        """End the worker as a reload would, so that the other tasks have their time."""
        with self._lock:
            self._exit = self._exit or status
            ending = self.stopping.is_set()
        if not ending:
            self._begin_no_more()
            Service.reload(self._service)

    # One run

    def _perform(self, task: Task) -> None:
        if self.stopping.is_set():
            return  # it had to wait for a thread
        task.begin()
        try:
            if task.on_one_worker and not self._service.partition.owns(self._key(task)):
                self._leave(task)
                return
            task.function()
        except NeverAgain:
            self._conclude(task, None)
            raise
        except SystemExit as status:
            LOG.warning("%s: the task %s ends the worker: %r", self._who(), task.name, status)
            self._conclude(task, None)
            self._end(status)
        except BaseException as error:  # such as asyncio.CancelledError
            self._conclude(task, error)
        else:
            self._conclude(task, None)

    def _key(self, task: Task) -> str:
        return f"{self._name()}/{task.name}"

    def _leave(self, task: Task) -> None:
        """Forget that a task fails: it is another worker's now."""
        with self._lock:
            failing = task.leave()
            self._changes += failing
        if failing:
            self._publish()

    def _conclude(self, task: Task, error: BaseException | None) -> None:
        line = None if error is None else line_of(error)
        with self._lock:
            known = task.end(line)
            times = task.in_a_row
            self._changes += 1
        if error is not None:
            LOG.error(
                "%s: the task %s failed%s",
                self._who(),
                task.name,
                f" {times} times in a row: {task.error}" if times > 1 else "",
                exc_info=None if known else error,  # the same traceback again tells nothing
            )
        self._publish()
        if error is not None and self._fail_after is not None and times >= self._fail_after:
            LOG.critical(
                "%s: ends with status %d, because the task %s failed %d times in a row",
                *(self._who(), FAILED, task.name, times),
            )
            self._end(SystemExit(FAILED))

    def _name(self) -> str:
        return self._service.name or type(self._service).__name__

    def _who(self) -> str:
        return f"{self._name()} worker({self._service.worker_id})"

    # What is said

    def running(self) -> dict[str, float]:
        """Return the names of the tasks that are running, with the seconds since they began."""
        now = time.monotonic()
        began = ((task.name, task.began) for task in self._tasks)
        return {name: now - since for name, since in began if since is not None}

    def said(self, text: str, figures: Mapping[str, float] | None) -> None:
        """Say something for the service.

        Raises:
            TypeError: ``figures`` are no mapping, or what else a service may not say.
            ValueError: there are too many figures, or they are not as they have to be.
        """
        if figures is not None and not isinstance(figures, Mapping):
            raise TypeError(f"status(): 'figures' must be numbers by name, not: {figures!r}")
        with self._lock:
            before = self._said
            self._said = said = _Said(text, figures)
            self._changes += 1
        try:
            self._publish()
        except BaseException:
            with self._lock:
                if self._said is said:
                    self._said = before
            raise

    def _publish(self) -> None:
        """Tell what there is to be said; whoever tells it last tells the last of it."""
        told = -1
        while told != self._changes:
            with self._lock:
                told = self._changes
                words = [self._state(), self._said.text]
                figures = figures_of(self._tasks, self._said.figures)
            # Without the lock: a signal handler, which may say something and needs the lock for
            # that, may have interrupted what this waits for.
            self._tell("; ".join(filter(None, words)), figures)

    def _state(self) -> str:
        """Return what people should know of the tasks now, which is mostly nothing."""
        if self.stopping.is_set() and (running := self.running()):
            names = ", ".join(f"{name} ({since:.0f} s)" for name, since in running.items())
            return f"stopping, waits for {names}"
        failing = [task for task in self._tasks if task.in_a_row]
        if not failing:
            return ""
        worst = max(failing, key=lambda task: task.in_a_row)
        more = f" (and {len(failing) - 1} more fail)" if len(failing) > 1 else ""
        times = f" {worst.in_a_row} times in a row" if worst.in_a_row > 1 else ""
        return f"{worst.name} failed{times}: {worst.error}{more}"
