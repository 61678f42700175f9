"""The guard: a small process that outlives a killed or stuck master, and ends what it left.

Responsible for the last resort. It holds a pidfd of the master, a table of the workers in
shared memory, and the read end of the master's wakeup descriptor, and it sleeps until

- the master has died: each worker's process group is killed at its own graceful timeout, or
  as soon as the worker has ended by itself;
- the master has not finished a stop by the instant that it promised;
- a TERM or INT stays unread in the master's wakeup descriptor: the interpreter's C handler has
  written it there, but the Python handler has not run: the main thread is stuck in C code.

It costs the master two stores into memory per worker, and no system call. Never decides
anything while the master is healthy, and never signals a process that is not in the table.
"""

import _socket
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from cotyledon._posix.cgroups import Cgroups
from cotyledon._posix.fork import FORKS, Birth
from cotyledon._posix.processes import Process, milliseconds
from cotyledon._posix.signals import HANDLED
from cotyledon._posix.table import Table

SECOND = 1_000_000_000
MARGIN = SECOND // 2
"""How long after a deadline that others keep by themselves the guard steps in."""
STUCK = 4 * SECOND
"""How long a master that makes no progress after its promised end is left alone: longer than it
waits itself for a process that cannot be killed."""
UNHEARD = SECOND
"""The same, while the main thread has not taken the signal that asks it to end: it is in a hook
that swallows what interrupts it."""
GLANCE = 0.1
"""Seconds between two looks at something that is not as it should be."""
GLANCES = 10
"""How many looks must find the same signal unread before it counts as not handled."""

_NOT_IGNORED = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
}


class Guard:
    """The master's handle on its guard.

    Args:
        wakeup: the read end of the master's wakeup descriptor.
        dress: called in the guard first, to give it a title.
        cgroups: of the workers, where each has one.
    """

    def __init__(
        self, wakeup: int, dress: Callable[[], None], cgroups: Cgroups | None = None
    ) -> None:
        self.cgroups = cgroups
        self.table = Table()
        self.process: Process | None = None
        self.started_at = 0
        self._wakeup = wakeup
        self._dress = dress
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._master = os.pidfd_open(os.getpid())
        FORKS.own(self._bell, self._master)

    def start(self) -> int:
        """Start the guard (again) and return its pidfd.

        Raises:
            OSError: no process or no descriptor could be had.
        """
        self.started_at = time.monotonic_ns()
        (pid,) = FORKS.fork([Birth(self._watch)], session=True)
        if isinstance(pid, OSError):
            raise pid
        try:
            self.process = Process(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        FORKS.own(self.process.pidfd)
        return self.process.pidfd

    def promise(self, instant: int, patience: int = STUCK) -> None:
        """Tell the guard when everything will have ended (0: no promise).

        Args:
            instant: when.
            patience: how long after it the master may make no progress.
        """
        self.table.patience = patience
        self.table.stop_by = instant
        try:
            os.eventfd_write(self._bell, 1)
        except OSError:
            pass

    def lost(self) -> None:
        """Collect a guard that has died."""
        if self.process is not None:
            self.process.reap()
            FORKS.disown(self.process.pidfd)
            self.process.close()
            self.process = None

    def dismiss(self) -> None:
        """End the guard: nothing is left to watch over."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            poll = select.poll()  # select() knows no descriptor above 1023
            poll.register(self.process.pidfd, select.POLLIN)
            poll.poll(STUCK // 1_000_000)
            self.lost()
        for fd in (self._bell, self._master):
            FORKS.disown(fd)
            os.close(fd)
        self.table.close()

    # In the guard

    def _watch(self) -> NoReturn:
        for signum in signal.valid_signals() - _NOT_IGNORED:
            signal.signal(signum, signal.SIG_IGN)
        self._let_go()
        self._dress()
        if self._wait_for_trouble():
            _clear_up(self.table)
            if self.cgroups is not None:
                # What has left the process group of its worker is still in here.
                self.cgroups.kill()
                self.cgroups.finish()
        os._exit(0)

    def _let_go(self) -> None:
        """Hold nothing that somebody else waits to see closed."""
        held = () if self.cgroups is None else (self.cgroups.fd,)
        keep = sorted((self._bell, self._master, self._wakeup, *held))
        low = 3
        for fd in keep:
            os.closerange(low, fd)
            low = fd + 1
        os.closerange(low, os.sysconf("SC_OPEN_MAX"))
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.close(null)

    def _wait_for_trouble(self) -> bool:
        """Return when the master is dead, by itself or by our hand."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        unread = _Unread(self._wakeup, self.table)
        late = _Late(self.table)
        while True:
            timeout = unread.glance if unread.seen else None
            promised = self.table.stop_by
            if promised:
                wait = (
                    GLANCE if late.acting else (promised + MARGIN - time.monotonic_ns()) / SECOND
                )
                timeout = max(0.0, wait if timeout is None else min(wait, timeout))
            ready = dict(
                poll.poll(None if timeout is None else milliseconds(round(timeout * SECOND)))
            )
            if self._master in ready:
                return True
            if self._bell in ready:
                os.eventfd_read(self._bell)
            if unread.look() or late.look(time.monotonic_ns()):
                _kill_all(self.table)
                signal.pidfd_send_signal(self._master, signal.SIGKILL)
            # A signal that waits unread would make poll() return at once, again and again.
            poll.modify(self._wakeup, 0 if unread.seen else select.POLLIN)


class _Unread:
    """Watches for signals that the master's interpreter has noted and its main thread has not."""

    glance = GLANCE

    def __init__(self, wakeup: int, table: Table) -> None:
        self._end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, wakeup)
        self._table = table
        self._term = 0  # looks in a row that have found it
        self._int = 0
        self.seen = False

    def look(self) -> bool:
        """Look again; return whether the master must be taken for stuck."""
        try:
            signals = self._end.recv(4096, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except OSError:
            signals = b""
        unhandled = signals[signals.rfind(HANDLED) + 1 :]
        self.seen = bool(signals)
        self._term = self._term + 1 if signal.SIGTERM in unhandled else 0
        self._int = self._int + 1 if signal.SIGINT in unhandled else 0
        grace = self._table.grace
        # Looks are counted, not seconds: a machine that was suspended proves nothing.
        patience = GLANCES + grace / SECOND / GLANCE
        return self._int > GLANCES or (grace > 0 and self._term > patience)


class _Late:
    """Watches for a stop that takes longer than the master has promised."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._left = -1
        self._idle = 0  # nanoseconds without progress
        self._looked_at = 0
        self.acting = False

    def look(self, now: int) -> bool:
        """Look again, kill what is left if it is late; return whether the master is stuck."""
        # What passed while we did not look proves nothing either: we were frozen with the master.
        passed = min(now - self._looked_at, int(GLANCE * SECOND))
        self._looked_at = now
        promised = self._table.stop_by
        self.acting = bool(promised) and now >= promised + MARGIN
        if not self.acting:
            return False
        left = _kill_all(self._table)
        self._idle = self._idle + passed if left == self._left else 0
        self._left = left
        return self._idle > self._table.patience


def _kill_all(table: Table) -> int:
    entries = table.entries()
    for pid in entries:
        _kill_group(pid, None)
    return len(entries)


def _kill_group(pid: int, process: Process | None) -> None:
    try:
        if process is not None:
            process.kill()
        else:
            os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    if process is None:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


def _clear_up(table: Table) -> None:
    """After the master's death: give each worker its time, then leave nothing of its group."""
    died_at = time.monotonic_ns()
    poll = select.poll()
    watched: dict[int, tuple[Process | None, int | None]] = {}  # pid -> pidfd, deadline
    ended: set[int] = set()
    while True:
        # Again each time: a worker that was being forked may have written itself down since.
        for pid, grace in table.entries().items():
            if pid in watched or pid in ended:
                continue
            deadline = died_at + grace + MARGIN if grace else None
            try:
                process = Process(pid)
                poll.register(process.pidfd, select.POLLIN)
            except ProcessLookupError:
                _kill_group(pid, None)  # it is gone; its group may not be
                ended.add(pid)
                continue
            except OSError:
                process = None  # no descriptor left: its deadline will do
            watched[pid] = process, deadline
        if not watched:
            return
        deadlines = [deadline for _, deadline in watched.values() if deadline is not None]
        now = time.monotonic_ns()
        wait = milliseconds(min(deadlines) - now) if deadlines else None
        gone = {fd for fd, _ in poll.poll(wait)}
        now = time.monotonic_ns()
        for pid, (process, deadline) in list(watched.items()):
            left = process is not None and process.pidfd in gone
            if left or (deadline is not None and now >= deadline):
                _kill_group(pid, process)
                ended.add(pid)
                del watched[pid]
                if process is not None:
                    poll.unregister(process.pidfd)
                    process.close()
