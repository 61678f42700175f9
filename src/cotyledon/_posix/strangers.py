"""Strangers: processes that become our children because their parents have died.

Responsible for reaping them where the kernel gives them to the master: as the first process of a
container, or as a subreaper on request. Never reaps a worker, the guard, or what the program has
started and may wait for; never waits; costs nothing unless it is started.

Who is a stranger is decided when it is dead, by what a zombie still shows. The program's own
children would be told a false status if they were reaped here, a stranger that is not reaped is
one entry in the process table: so in doubt a zombie is left alone. In this order:

1. Ours (workers, the guard), or a child already when this began: left alone.
2. Marked as a descendant of a worker (see ``marks``): a stranger, for the program cannot have
   started it, and whatever it has started carries the master's own mark.
3. In a session that is neither the master's nor its own: a stranger. A child of the program is in
   the master's session, or leads one. (A daemon that has forked twice; what came from
   ``docker exec``.)
4. In the master's process group: left alone.
5. Without any mark, where we are the first process of the PID namespace: a stranger, which was
   put into the container from outside, or descends from something that ran here before us.
6. Everything else is left alone: it is a child of the program, or an orphan of such a child that
   leads a session or a group of its own or has stayed in the group of the master. Nothing tells
   these two apart.
"""

import _signal  # type: ignore[import-not-found]
import os
from collections.abc import Callable, Container
from types import FrameType
from typing import Any, NamedTuple

from cotyledon._posix.fork import FORKS
from cotyledon._posix.marks import Mark, begins_with, limit_of, mark_worker, path_of

PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
AT_ONCE = 64
"""How many are reaped in one turn, at about 30 us each; the loop is woken for the others."""


class Stat(NamedTuple):
    """What ``/proc/<pid>/stat`` shows, of a zombie too."""

    state: str
    parent: int
    group: int
    session: int
    started: int
    """Clock ticks since the machine has started: with the pid, this names a process for good."""


def look(pid: int) -> Stat | None:
    """Look at a process; ``None`` if there is none, or none that we may see."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return None
    # The name is in parentheses, and may hold any of them itself.
    fields = text.rpartition(b")")[2].split()
    try:
        numbers = [int(fields[index]) for index in (1, 2, 3, 19)]
    except (IndexError, ValueError):
        return None
    return Stat(fields[0].decode(), *numbers)


def children() -> list[int]:
    """Return the children of this process, whichever of its threads has started them."""
    found = b""
    try:
        for task in os.listdir("/proc/self/task"):
            # Not every kernel has this file.
            with open(f"/proc/self/task/{task}/children", "rb", buffering=0) as file:
                while piece := file.read(1 << 16):
                    found += piece
            found += b" "
    except OSError:
        return _children_by_parent()
    return [int(pid) for pid in found.split()]


def _children_by_parent() -> list[int]:
    me = os.getpid()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if (stat := look(pid)) is not None and stat.parent == me]


class Strangers:
    """Reaps adopted children. It does nothing until :meth:`start`.

    Args:
        ours: returns the pids of the workers and of the guard.
        wake: makes the master's loop have another turn; callable from a signal handler.
    """

    def __init__(self, ours: Callable[[], Container[int]], wake: Callable[[], None]) -> None:
        self._ours = ours
        self._wake = wake
        self._active = False
        self._due = False
        self._pid = 0
        self._mark: Mark | None = None
        self._known: set[tuple[int, int]] = set()  # pid and start of the children we began with
        self._sessions: set[int] = set()
        self._previous: Any = None
        self._was_subreaper: bool | None = None  # None: not changed
        self._registered = False

    @property
    def active(self) -> bool:
        """Whether strangers are looked for."""
        return self._active

    def start(self, subreaper: bool = False) -> bool:
        """Begin, if this is the first process of its PID namespace, or a subreaper is wanted.

        Before the first worker and the guard are started, in the main thread.

        Args:
            subreaper: adopt the orphans among our descendants.

        Returns:
            Whether there is anything to do.

        Raises:
            OSError: the kernel does not let us be a subreaper.
        """
        self._pid = os.getpid()
        if self._active or (self._pid != 1 and not subreaper):
            return self._active
        if self._pid != 1:
            self._was_subreaper = _become_subreaper(True)
        try:
            self._mark = Mark()
        except OSError:
            self._mark = None  # rules 3 and 4 are left
        # After the mark: what another thread starts in between has one of the two.
        for pid in children():
            stat = look(pid)
            if stat is not None:
                self._known.add((pid, stat.started))
        self._sessions.add(os.getsid(0))
        if not self._registered:
            self._registered = True
            os.register_at_fork(after_in_child=self._in_child)
        self._active = self._due = True
        self._listen()
        return True

    def stop(self) -> None:
        """End: give back the handler, the mark, and the duty of a subreaper."""
        if not self._active:
            return
        self._active = False
        self._restore_handler()
        if self._mark is not None:
            self._mark.remove()
            self._mark = None
        if self._was_subreaper is False:
            try:
                _become_subreaper(False)
            except OSError:
                pass
        self._was_subreaper = None
        self._known.clear()

    def reap(self) -> int:
        """Reap the strangers that are dead; return how many.

        To be called once in each turn of the loop, after the workers that have died are no longer
        among ours. It is one check of a flag unless a child has died since the last time.
        """
        if not self._active or not (self._due or self._unheard()):
            return 0
        self._due = False
        # Usually there is no zombie but strangers, and then nothing has to be listed.
        ours = self._ours()
        reaped = 0
        while reaped < AT_ONCE:
            pid = _first_zombie()
            if pid is None:
                return reaped
            if not self._reap_if_stranger(pid, ours):
                break
            reaped += 1
        for pid in children():
            if reaped >= AT_ONCE:
                self._due = True  # the others next time, without delay
                self._wake()
                break
            reaped += self._reap_if_stranger(pid, ours)
        return reaped

    # Who is one

    def _reap_if_stranger(self, pid: int, ours: Container[int]) -> bool:
        if pid in ours:
            return False
        # Judged and reaped is the process of this descriptor, whoever has its number next.
        with FORKS.lock:
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:  # reaped by somebody else; or no descriptor is left: later, then
                return False
            try:
                stat = look(pid)
                if stat is None or stat.state not in "ZX" or not self._is_stranger(pid, stat):
                    return False
                result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
                return result is not None
            except ChildProcessError:
                return False
            finally:
                os.close(pidfd)

    def _is_stranger(self, pid: int, stat: Stat) -> bool:
        if stat.parent != self._pid or (pid, stat.started) in self._known:
            return False
        limit = limit_of(pid)
        path = path_of(limit)
        mark = self._mark
        if mark is not None and path is not None and begins_with(path, mark.worker):
            return True
        if stat.session not in {pid, os.getsid(0), *self._sessions}:
            return True
        if stat.group == os.getpgrp():
            return False
        return mark is not None and limit is not None and path is None and self._pid == 1

    # Hearing of deaths

    def _listen(self) -> None:
        self._previous = _signal.getsignal(_signal.SIGCHLD)
        if self._previous is not None:  # else it was not set by Python, and is not ours to take
            _signal.signal(_signal.SIGCHLD, self._handle)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGCHLD,))

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self._due = True
            self._wake()
        if callable(self._previous):
            self._previous(signum, frame)

    def _unheard(self) -> bool:
        # The program has put its own handler in the place of ours: look in each turn.
        return bool(_signal.getsignal(_signal.SIGCHLD) != self._handle)

    def _restore_handler(self) -> None:
        if self._previous is not None and not self._unheard():
            _signal.signal(_signal.SIGCHLD, self._previous)

    def _in_child(self) -> None:
        # Both in a worker and in a child that user code forks, before any of their code.
        if self._active and os.getpid() != self._pid:
            self._active = False
            self._restore_handler()
            if FORKS.forking:
                mark_worker()


def _first_zombie() -> int | None:
    """Return a dead child, which stays one."""
    try:
        result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if result is None else result.si_pid


def _become_subreaper(wanted: bool) -> bool:
    """Change whether orphans below us become our children; return what it was."""
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    before = ctypes.c_int()
    zero = ctypes.c_ulong(0)
    if prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), zero, zero, zero) or prctl(
        PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(wanted), zero, zero, zero
    ):
        error = ctypes.get_errno()
        raise OSError(error, f"prctl: {os.strerror(error)}")
    return bool(before.value)
