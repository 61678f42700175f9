"""One run of one subject: a process to start, to listen to, to hurt and to clear away.

Responsible for every process that the benchmark starts: when a run is left, none of them is
there any more, whatever the subject did. Never waits without a deadline, and never signals a
process that does not descend from this one.

Every process of a subject inherits the write end of one pipe. A worker reports over it that it
runs; the end of file tells that no process is left. The reports carry the time, so this process
need not be quick to read them.
"""

import ctypes
import os
import select
import signal
import struct
import time
from collections.abc import Iterable
from typing import NamedTuple, Self

from bench import proc
from bench.subjects import Subject

SECOND = 1_000_000_000
_RECORD = struct.Struct("<qqq")
_MASTER = -1  # the worker id in the report that the master is about to start its workers
_PR_SET_CHILD_SUBREAPER = 36


class TimedOut(Exception):
    """What was waited for did not happen in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not within {seconds:g} s")
        self.seconds = seconds


class Report(NamedTuple):
    """What a worker has said when it began to run."""

    worker_id: int
    pid: int
    at: int  # nanoseconds, CLOCK_MONOTONIC


def prepare() -> None:
    """Become the parent of what a subject leaves behind; let it inherit nothing by accident."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            os.set_inheritable(fd, fd < 3)
        except OSError:  # that of the listing itself
            pass
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Run:
    """A subject with a number of workers; a context manager.

    Args:
        subject: what to run.
        workers: how many.
        megabytes: of Python objects that the master makes first.
        collections: of garbage that each worker makes before it reports.
    """

    def __init__(
        self, subject: Subject, workers: int, *, megabytes: int = 0, collections: int = 0
    ) -> None:
        self.workers = workers
        self.pids: dict[int, int] = {}  # worker id -> the newest pid
        self._unread: list[Report] = []
        self._buffer = b""
        self._ended = False
        self._pipe, theirs = os.pipe()
        self._errors = os.memfd_create("stderr")
        os.set_blocking(self._pipe, False)
        os.set_inheritable(theirs, True)
        command = subject.command(theirs, workers, megabytes, collections)
        try:
            self.pid = os.posix_spawn(
                command[0],
                command,
                subject.environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, self._errors, 2),
                ],
                setsid=True,
            )
        finally:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            clear_away()
        finally:
            os.close(self._pipe)
            os.close(self._errors)

    # What happens

    def started(self, seconds: float) -> int:
        """Wait until every worker runs; return how long that took, in nanoseconds."""
        began = self._next(_deadline(seconds), seconds).at
        return self.run_again(range(self.workers), seconds) - began

    def some_started(self, count: int, seconds: float) -> None:
        """Wait until so many workers run."""
        deadline = _deadline(seconds)
        while len(self.pids) < count:
            self._next(deadline, seconds)

    def run_again(self, worker_ids: Iterable[int], seconds: float) -> int:
        """Wait until each of some workers has reported; return the time of the last report."""
        missing = set(worker_ids)
        deadline = _deadline(seconds)
        last = 0
        while missing:
            report = self._next(deadline, seconds)
            missing.discard(report.worker_id)
            last = max(last, report.at)
        return last

    def gone(self, seconds: float) -> int:
        """Wait until no process of the subject is left; return when that was."""
        deadline = _deadline(seconds)
        while not self._ended:
            self._read(deadline, seconds)
        # One may have closed the pipe and still be there.
        while not reap():
            if time.monotonic_ns() > deadline:
                raise TimedOut(seconds)
            time.sleep(0.0005)
        return time.monotonic_ns()

    def rest(self, seconds: float = 5) -> None:
        """Wait until the master has nothing left to do."""
        deadline = _deadline(seconds)
        before = proc.cpu(self.pid)
        while time.monotonic_ns() < deadline:
            time.sleep(0.02)
            now = proc.cpu(self.pid)
            if now - before < SECOND // 10_000:
                return
            before = now

    def _next(self, deadline: int, seconds: float) -> Report:
        while not self._unread:
            if self._ended:
                raise RuntimeError(f"the subject has ended by itself:\n{self._said()}")
            self._read(deadline, seconds)
        return self._unread.pop(0)

    def _read(self, deadline: int, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        if not poll.poll(max(0, deadline - time.monotonic_ns()) / 1_000_000):
            raise TimedOut(seconds)
        data = os.read(self._pipe, 1 << 16)
        self._ended = not data
        data = self._buffer + data
        whole = len(data) - len(data) % _RECORD.size
        self._buffer = data[whole:]
        for fields in _RECORD.iter_unpack(data[:whole]):
            report = Report(*fields)
            self._unread.append(report)
            if report.worker_id != _MASTER:
                self.pids[report.worker_id] = report.pid

    def _said(self) -> str:
        return os.pread(self._errors, 1 << 16, 0).decode(errors="replace")[-4000:]


def clear_away() -> None:
    """Kill everything that was started and is still there; needs :func:`prepare`."""
    deadline = _deadline(60)
    while not reap():
        if time.monotonic_ns() > deadline:
            raise RuntimeError("a subject's processes cannot be killed")
        # The children of those that die become ours, and have their turn.
        for pid in proc.children(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _deadline(seconds: float) -> int:
    return time.monotonic_ns() + round(seconds * SECOND)


def reap() -> bool:
    """Collect what has ended; return whether no child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
