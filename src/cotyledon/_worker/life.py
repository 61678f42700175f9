"""What the lives of all workers have in common, whatever their service's methods run in.

Responsible for building the service, for what is told to the master, for the clock of the graceful
timeout, and for leaving. Never starts a thread, never waits for the service: there are
:mod:`~cotyledon._worker.threads` and :mod:`~cotyledon._worker.loop` for that.
"""

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from logging import CRITICAL, ERROR, WARNING
from typing import Any, NamedTuple, NoReturn

from cotyledon._core.grace import bounded
from cotyledon._link import LINK
from cotyledon._posix import channel, stacks
from cotyledon._posix.fork import FORKS
from cotyledon._posix.launch import Ties
from cotyledon._posix.signals import Catcher, Wakeup
from cotyledon._say import say
from cotyledon._titles import set_title
from cotyledon._values import LONGEST
from cotyledon._worker import multiprocess
from cotyledon._worker.saying import Saying
from cotyledon.run_as import RunAs
from cotyledon.service import BaseService, Service
from cotyledon.types import ServiceId, WorkerId

SECOND = 1_000_000_000

ROOM = 1000
"""Milliseconds between two looks at whether the worker is ending, while its channel is full."""

BEFORE_RELOAD: list[Callable[[], None]] = []
"""Called in this worker before its service's ``reload()``, in the same thread."""


class Assignment(NamedTuple):
    """What a worker is to be."""

    service: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    service_id: ServiceId
    worker_id: WorkerId
    name: str  # until the service has said its own
    program: str
    grace: int  # the manager's graceful timeout in nanoseconds
    on_new_worker: tuple[Callable[..., Any], ...]
    told: bool = False  # it is ready when the service says so, not when it is built
    stacks: bool = False  # it answers when it is asked for the stacks of its threads
    watchdog: float | None = None  # in seconds
    run_as: RunAs | None = None


class Life:
    """One worker process, as far as it does not matter how its service runs.

    Args:
        assignment: what to be.
        ties: what leads to the master.
    """

    def __init__(self, assignment: Assignment, ties: Ties) -> None:
        self.assignment = assignment
        self.channel = ties.channel
        self.stacks = ties.stacks
        self.name = assignment.name
        self.wakeup = Wakeup()
        self.catcher = Catcher(self.wakeup, self._at_once)
        self.service: Any  # a service, or something with the same methods
        self.base: type[BaseService] = Service
        self.grace: int | None = None  # the service's own, in nanoseconds
        self.lock = threading.RLock()  # a signal handler of the program may call ready()
        self.ending = False  # somebody has begun to end the worker
        self.failed = 0  # how something failed while the worker was ending already
        self.told = 0  # the newest generation that the master has named
        self.clock_on_term = False  # start the clock in the signal handler itself
        self._clock = False  # it runs
        self._built = False
        self._called_ready = False
        self._announced = False
        self._ties = ties
        self._saying: Saying | None = None  # made when the service says something
        self.poll = select.poll()
        self.poll.register(self.channel, select.POLLIN)
        FORKS.own(ties.channel, *self.wakeup.fds)
        if ties.news >= 0:
            FORKS.own(ties.news)
        FORKS.forget = LINK.cut
        if ties.stacks >= 0:
            FORKS.own(ties.stacks)
            FORKS.forget = _forget_all
            stacks.answer(ties.stacks)
        LINK.beat = self._first_beat
        LINK.ready = self._ready
        LINK.extend = self._extend
        LINK.say = self._say
        self.catcher.install()

    def _first_beat(self) -> None:
        now, beats, place = time.monotonic_ns, self._ties.beats, self._ties.place

        def heartbeat() -> None:
            beats[place] = now()

        LINK.beat = heartbeat
        heartbeat()

    # The beginning

    def begin(self) -> None:
        """Become a worker: a title, and what the policy says of the process."""
        self._set_title()
        if self._stopped_already():
            os._exit(0)
        if self.assignment.run_as is not None:
            self._run_as(self.assignment.run_as)

    def build(self) -> None:
        """Build the service; a failure ends the worker."""
        try:
            self._build()
        except BaseException as error:
            self.fail_to_build(error)
        if self.name != self.assignment.name:
            self._set_title()

    def fail_to_build(self, error: BaseException) -> NoReturn:
        """End the worker: it could not be made."""
        status = self.status_of(error, "building the service", 1)
        self.begin_end()
        self.leave(status)

    def _set_title(self) -> None:
        job = self.assignment
        set_title(f"{job.program}: {self.name} worker({job.worker_id})")

    def _stopped_already(self) -> bool:
        """Whether the master gave up on this worker before it began."""
        if not self.poll.poll(0):
            return False  # as nearly always
        messages = channel.receive(self.channel)
        if messages is None:
            return True
        self.told = max(
            (m.generation for m in messages if isinstance(m, channel.ReloadMessage)), default=0
        )
        return channel.StopMessage() in messages

    def _run_as(self, run_as: RunAs) -> None:
        from cotyledon._worker import identity  # here: few services need it

        try:
            identity.apply(run_as)
        except identity.Refused as refusal:
            job = self.assignment
            say(CRITICAL, "%s worker(%s): cannot run %s", self.name, job.worker_id, refusal)
            self.begin_end()
            self.leave(1)

    def _build(self) -> None:
        job = self.assignment
        service = job.service(job.worker_id, *job.args, **job.kwargs)
        if not all(callable(getattr(service, m, None)) for m in ("run", "terminate", "reload")):
            raise TypeError(f"{job.service!r} must return a cotyledon.Service, not: {service!r}")
        service.worker_id = job.worker_id
        self.service = service
        asynchronous = sys.modules.get("cotyledon.async_service")
        if asynchronous is not None and isinstance(service, asynchronous.AsyncService):
            self.base = asynchronous.AsyncService
        self.name = str(getattr(service, "name", None) or type(service).__name__)
        self.read_grace()
        for hook in job.on_new_worker:
            try:
                hook(job.service_id, job.worker_id, service)
            except Exception:
                say(ERROR, "the hook %r failed, those after it are skipped", hook, exc_info=True)
                break

    def read_grace(self) -> None:
        """Read the service's own graceful timeout, which it may change.

        Raises:
            ValueError: it is nothing of the kind.
        """
        seconds = getattr(self.service, "graceful_shutdown_timeout", None)
        if seconds is None:
            self.grace = None
            return
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
            raise ValueError(
                f"graceful_shutdown_timeout of {self.name} must be a number of seconds >= 0 "
                f"or None, not: {seconds!r}"
            )
        self.grace = round(min(seconds, LONGEST) * SECOND)

    def inherits(self, method: str) -> bool:
        """Whether the service has the base class's method."""
        bound = getattr(self.service, method)
        return getattr(bound, "__func__", None) is getattr(self.base, method)

    def has_reload(self) -> bool:
        """Whether the service has a reload() of its own."""
        return not self.inherits("reload")

    # What the master is told

    def built(self) -> None:
        """The service is built: that is to be ready, unless the service wants to say so itself."""
        with self.lock:
            self._built = True
            if self.assignment.told and not self._called_ready:
                return
        self._announce()

    def _ready(self) -> None:
        with self.lock:
            self._called_ready = True
            if not self._built:
                return
        self._announce()

    def _announce(self) -> None:
        with self.lock:
            if self._announced:
                return
            self._announced = True
        message = channel.ReadyMessage(self.name, self.has_reload(), self.grace)
        while not channel.send(self.channel, message) and not self.ending:
            # Full of requests for more time, which the master has not come to read.
            room = select.poll()
            room.register(self.channel, select.POLLOUT)
            room.poll(ROOM)

    def _extend(self, nanoseconds: int) -> None:
        if not self._announced:
            # What does not fit is not missed: there are as many requests to be read as can be.
            channel.send(self.channel, channel.ExtendMessage(nanoseconds))

    def reloaded(self, generation: int) -> None:
        """Tell that the service's reload() has returned."""
        channel.send(self.channel, channel.ReloadedMessage(generation, self.grace))

    def tell_stacks(self, aloud: bool, more: str = "") -> None:
        """Write the stacks of all threads for the master, and tell it so."""
        if self.stacks >= 0:
            stacks.dump(self.stacks, aloud, more)
        channel.send(self.channel, channel.StacksMessage())

    def _say(self, text: str, figures: Mapping[str, float]) -> None:
        with self.lock:
            if self._saying is None:
                self._saying = Saying(self._ties.news, self.wakeup.wake)
        self._saying.say(text, figures)

    def say_waiting(self) -> float | None:
        """Tell what the service has said lately, if that may be; return when to try again.

        Returns:
            In how many seconds; ``None``: there is nothing left to be told.
        """
        return None if self._saying is None else self._saying.flush()

    def _finish_saying(self) -> None:
        if self._saying is not None:
            self._saying.finish()

    def orders(self) -> list[channel.Message] | None:
        """Return what the master says; ``None``, and a line in the log, if it is gone."""
        messages = channel.receive(self.channel)
        if messages is None:
            say(
                WARNING,
                "%s worker(%s): lost the channel to the master: it has died, or the service has "
                "closed a descriptor that is not its own",
                self.name,
                self.assignment.worker_id,
            )
        return messages

    # The end

    def _at_once(self, signum: int) -> None:
        if signum in (signal.SIGINT, signal.SIGALRM):
            os._exit(1)
        if signum == signal.SIGTERM and self.clock_on_term:
            self._start_clock()

    def begin_end(self) -> bool:
        """Claim the right to end the worker; the first one gets it, and the clock starts."""
        with self.lock:
            if self.ending:
                return False
            self.ending = True
        self._start_clock()
        return True

    def _start_clock(self) -> None:
        if self._clock:
            return
        self._clock = True
        if hasattr(self, "service"):
            try:
                self.read_grace()  # the service may have changed it
            except ValueError:
                pass
        grace = bounded(self.grace, self.assignment.grace)
        if grace:
            # SIGALRM finds the main thread, whatever the other threads do.
            signal.setitimer(signal.ITIMER_REAL, grace / SECOND)

    def leave(self, status: int) -> NoReturn:
        """Deliver and flush what is pending, then end the process."""
        for finish in (self._finish_saying, multiprocess.finish, logging.shutdown, _flush):
            try:
                finish()
            except BaseException as error:
                say(ERROR, "while leaving: %r", error)
        os._exit(status)

    def status_of(self, error: BaseException, where: str, failure: int) -> int:
        """Return the exit status for what user code has raised, after telling people."""
        if isinstance(error, SystemExit):
            if error.code is None:
                return 0
            if isinstance(error.code, int):
                return error.code & 0xFF
            try:
                print(error.code, file=sys.stderr)
            except Exception:  # a broken stderr
                pass
            return 1
        say(
            CRITICAL,
            "%s worker(%s): %s failed",
            self.name,
            self.assignment.worker_id,
            where,
            exc_info=error,
        )
        return failure


def _forget_all() -> None:
    LINK.cut()
    stacks.forget()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
