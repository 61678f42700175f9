"""The life of a worker process with a classic service.

Responsible for the threads: the main thread builds the service, then waits for signals and for
the master; ``run()``, ``reload()`` and ``terminate()`` have a thread each. Responsible for
leaving: exactly one thread ends the process, after a flush, within the graceful timeout. Never
waits for ``run()`` to return, never runs the master's atexit handlers.

How a worker ends::

    TERM, "stop", end of file  -> terminate() -> 0     sys.exit(n) anywhere -> n
    exception in run/terminate/reload -> 2             exception in __init__ -> 1
    INT, ALRM, the graceful timeout   -> 1, at once
"""

import _thread
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from logging import CRITICAL, ERROR, WARNING
from typing import Any, NamedTuple, NoReturn

from cotyledon._core.grace import bounded
from cotyledon._posix import channel
from cotyledon._posix.fork import FORKS
from cotyledon._posix.signals import Catcher, Wakeup
from cotyledon._say import say
from cotyledon._titles import set_title
from cotyledon._worker import multiprocess
from cotyledon.service import Service
from cotyledon.types import ServiceId, WorkerId

SECOND = 1_000_000_000

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


def main_forked(assignment: Assignment, channel_fd: int) -> NoReturn:
    """Be a worker, in a process that was just forked from the master."""
    runtime = Runtime(assignment, channel_fd)
    FORKS.unblock()
    _detach_stdin()
    multiprocess.adopt(f"{assignment.name}-{assignment.worker_id}")
    runtime.live()


def main_spawned(assignment: Assignment, end: Any) -> NoReturn:
    """Be a worker, in a process that multiprocessing has started."""
    try:
        os.setpgid(0, 0)
    except OSError:
        pass
    FORKS.watch()
    Runtime(assignment, end.detach()).live()


def _detach_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


class Runtime:
    """One worker process.

    Args:
        assignment: what to be.
        channel_fd: this end of the channel to the master.
    """

    def __init__(self, assignment: Assignment, channel_fd: int) -> None:
        self._assignment = assignment
        self._channel = channel_fd
        self._name = assignment.name
        self._wakeup = Wakeup()
        self._catcher = Catcher(self._wakeup, self._die_at_once)
        FORKS.own(channel_fd, *self._wakeup.fds)
        self._poll = select.poll()
        self._poll.register(self._wakeup.fd, select.POLLIN)
        self._poll.register(channel_fd, select.POLLIN)
        self._catcher.install()
        self._service: Any  # a Service, or something with the same methods
        self._grace: int | None = None  # the service's own, in nanoseconds
        self._lock = threading.Lock()
        self._ending = False  # somebody has begun to end the worker
        self._failed = 0  # how run() or reload() failed while the worker was ending already
        self._told = 0  # the newest generation that the master has named
        self._reload_due = False
        self._reloading: threading.Thread | None = None

    def live(self) -> NoReturn:
        """Build the service, run it, and end the process."""
        self._set_title()
        if self._stopped_already():
            os._exit(0)
        try:
            self._build()
        except BaseException as error:
            status = self._status_of(error, "building the service", 1)
            self._begin_end()
            self._leave(status)
        if self._name != self._assignment.name:
            self._set_title()
        channel.send(
            self._channel,
            channel.ReadyMessage(self._name, self._has_reload(), self._grace),
        )
        if not self._inherits("run"):
            self._thread("run", self._run)
        if self._told:
            self._reload(self._told)  # it was told before it began, and may know the old state
        self._listen()

    def _set_title(self) -> None:
        job = self._assignment
        set_title(f"{job.program}: {self._name} worker({job.worker_id})")

    def _stopped_already(self) -> bool:
        """Whether the master gave up on this worker before it began."""
        if not any(fd == self._channel for fd, _ in self._poll.poll(0)):
            return False
        messages = channel.receive(self._channel)
        if messages is None:
            return True
        self._told = max(
            (m.generation for m in messages if isinstance(m, channel.ReloadMessage)), default=0
        )
        return channel.StopMessage() in messages

    def _build(self) -> None:
        job = self._assignment
        service = job.service(job.worker_id, *job.args, **job.kwargs)
        if not all(callable(getattr(service, m, None)) for m in ("run", "terminate", "reload")):
            raise TypeError(f"{job.service!r} must return a cotyledon.Service, not: {service!r}")
        service.worker_id = job.worker_id
        self._service = service
        self._name = str(getattr(service, "name", None) or type(service).__name__)
        self._read_grace()
        for hook in job.on_new_worker:
            try:
                hook(job.service_id, job.worker_id, service)
            except Exception:
                say(ERROR, "the hook %r failed, those after it are skipped", hook, exc_info=True)
                break

    def _read_grace(self) -> None:
        seconds = getattr(self._service, "graceful_shutdown_timeout", None)
        if seconds is None:
            self._grace = None
            return
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
            raise ValueError(
                f"graceful_shutdown_timeout of {self._name} must be a number of seconds >= 0 "
                f"or None, not: {seconds!r}"
            )
        self._grace = round(seconds * SECOND)

    def _inherits(self, method: str) -> bool:
        """Whether the service has the base class's method."""
        bound = getattr(self._service, method)
        return getattr(bound, "__func__", None) is getattr(Service, method)

    def _has_reload(self) -> bool:
        return not self._inherits("reload")

    # The main thread

    def _listen(self) -> NoReturn:
        poll = self._poll
        while True:
            self._catcher.claim()  # the service may have run something that took it over
            while self._catcher.caught:
                signum = self._catcher.caught.popleft()
                if signum == signal.SIGTERM:
                    self._terminate()
                elif signum == signal.SIGHUP:
                    self._reload(self._told)
            for fd, _ in poll.poll():
                if fd == self._wakeup.fd:
                    self._catcher.drain()
                elif not self._obey():
                    poll.unregister(fd)

    def _obey(self) -> bool:
        """Do what the master says; return whether it is still there."""
        messages = channel.receive(self._channel)
        if messages is None:
            say(
                WARNING,
                "%s worker(%s): lost the channel to the master: it has died, or the service has "
                "closed a descriptor that is not its own",
                self._name,
                self._assignment.worker_id,
            )
            self._terminate()
            return False
        for message in messages:
            match message:
                case channel.StopMessage():
                    self._terminate()
                case channel.ReloadMessage(generation):
                    self._reload(generation)
                case _:
                    pass
        return True

    def _die_at_once(self, signum: int) -> None:
        if signum in (signal.SIGINT, signal.SIGALRM):
            os._exit(1)

    def _thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    # run()

    def _run(self) -> None:
        try:
            self._service.run()
        except BaseException as error:
            status = self._status_of(error, "run()", 2)
            if self._begin_end():
                self._leave(status)
            self._failed = self._failed or status

    # reload()

    def _reload(self, generation: int) -> None:
        self._told = max(self._told, generation)
        if not self._has_reload():
            self._terminate()
            return
        with self._lock:
            if self._ending:
                return
            self._reload_due = True
            if self._reloading is None:
                self._reloading = self._thread("reload", self._reload_while_due)

    def _reload_while_due(self) -> None:
        while True:
            with self._lock:
                if self._ending or not self._reload_due:
                    self._reloading = None
                    return
                self._reload_due = False
                generation = self._told
            try:
                for prepare in BEFORE_RELOAD:
                    prepare()
                self._service.reload()
                self._read_grace()
            except BaseException as error:
                status = self._status_of(error, "reload()", 2)
                if self._begin_end():
                    self._leave(status)
                self._failed = self._failed or status
                return
            channel.send(self._channel, channel.ReloadedMessage(generation, self._grace))

    # terminate()

    def _terminate(self) -> None:
        if self._begin_end():
            try:
                # Bare: threading.Thread.start() would wait for the thread to begin.
                _thread.start_new_thread(self._terminate_and_leave, ())
            except RuntimeError:  # no thread can be had any more
                self._terminate_and_leave()

    def _terminate_and_leave(self) -> NoReturn:
        status = 0
        reloading = self._reloading
        if reloading is not None:
            reloading.join()  # the two never overlap; the clock is running already
        try:
            self._service.terminate()
        except BaseException as error:
            status = self._status_of(error, "terminate()", 2)
        self._leave(status or self._failed)

    # The end

    def _begin_end(self) -> bool:
        """Claim the right to end the worker; the first one gets it, and the clock starts."""
        with self._lock:
            if self._ending:
                return False
            self._ending = True
        if hasattr(self, "_service"):
            try:
                self._read_grace()  # the service may have changed it
            except ValueError:
                pass
        grace = bounded(self._grace, self._assignment.grace)
        if grace:
            # SIGALRM finds the main thread in poll(), whatever the other threads do.
            signal.setitimer(signal.ITIMER_REAL, grace / SECOND)
        return True

    def _leave(self, status: int) -> NoReturn:
        """Deliver and flush what is pending, then end the process."""
        for finish in (multiprocess.finish, logging.shutdown, _flush):
            try:
                finish()
            except BaseException as error:
                say(ERROR, "while leaving: %r", error)
        os._exit(status)

    def _status_of(self, error: BaseException, where: str, failure: int) -> int:
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
            self._name,
            self._assignment.worker_id,
            where,
            exc_info=error,
        )
        return failure


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
