"""The table of the workers: what the master, its guard and the workers tell each other in memory.

Responsible for the layout of the shared memory, and for its ways into the workers. Writing costs
a store and no system call. Never decides anything.
"""

import mmap
import os
import sys
from typing import Any

from cotyledon._posix.fork import FORKS

CAPACITY = 1 << 15

_STOP_BY = 0  # cells of the table before the workers': the promise of the master,
_GRACE = 1  # and its graceful timeout
_PATIENCE = 2  # how long it may make no progress after that
_FIRST = 3


class Table:
    """Which processes must not outlive the master, in memory that is shared across forks.

    Two cells per worker: its pid (0: none) and its graceful timeout in nanoseconds (0: none).
    A third one, the instant of its last heartbeat, has memory of its own: the guard needs no
    heartbeats, and a worker that was not forked gets that memory and nothing of the rest.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (_FIRST + 2 * CAPACITY))
        self._cells = memoryview(self._memory).cast("q")
        self.beats = memoryview(mmap.mmap(-1, 8 * CAPACITY)).cast("q")
        """The instants of the last heartbeats, by place (0: none so far)."""
        self._beats_fd = -1  # of that memory, once it is shared by descriptor
        self._used = 0  # places that were ever taken; this and the next in the master alone
        self._free: list[int] = []

    def share(self) -> None:
        """Have heartbeats in memory that can be sent to workers that are not forked.

        Called before the first worker is started.

        Raises:
            OSError: no descriptor or no memory is left.
        """
        if self._beats_fd < 0:
            fd = os.memfd_create("cotyledon-heartbeats", os.MFD_CLOEXEC)
            try:
                os.ftruncate(fd, 8 * CAPACITY)
                self.beats = memoryview(_map(fd, 8 * CAPACITY)).cast("q")
            except BaseException:
                os.close(fd)
                raise
            self._beats_fd = fd
            FORKS.own(fd)

    def close(self) -> None:
        """Let go of the descriptor of the heartbeats, if there is one."""
        if self._beats_fd >= 0:
            FORKS.disown(self._beats_fd)
            os.close(self._beats_fd)
            self._beats_fd = -1

    def reserve(self) -> int:
        """Take a place in the table; it has no heartbeat.

        Raises:
            OSError: there are more than 32,768 workers.
        """
        if self._free:
            place = self._free.pop()
        elif self._used == CAPACITY:
            raise OSError(f"more than {CAPACITY} workers")
        else:
            place = self._used
            self._used += 1
        # Here and not in enter(), which the master calls when the worker may have beaten already.
        self.beats[place] = 0
        return place

    def enter(self, place: int, pid: int, grace: int) -> None:
        """Write a process down; called by the master, and by a forked child for itself."""
        cell = _FIRST + 2 * place
        self._cells[cell + 1] = grace
        self._cells[cell] = pid

    def release(self, place: int) -> None:
        """Forget a process that is gone with its group."""
        self._cells[_FIRST + 2 * place] = 0
        self._free.append(place)

    def set_grace(self, place: int, grace: int) -> None:
        """Change a worker's graceful timeout."""
        self._cells[_FIRST + 2 * place + 1] = grace

    def beat(self, place: int) -> int:
        """Return the instant of a worker's last heartbeat (0: none so far)."""
        return self.beats[place]

    def set_beat(self, place: int, instant: int) -> None:
        """Write down a heartbeat."""
        self.beats[place] = instant

    def pulse(self, place: int) -> "Pulse":
        """Return what a worker needs to write down its own heartbeats."""
        return Pulse(self.beats[place : place + 1], self._beats_fd, place)

    @property
    def stop_by(self) -> int:
        """The instant at which the master promised to have ended everything (0: none)."""
        return self._cells[_STOP_BY]

    @stop_by.setter
    def stop_by(self, instant: int) -> None:
        self._cells[_STOP_BY] = instant

    @property
    def grace(self) -> int:
        """The manager's graceful timeout."""
        return self._cells[_GRACE]

    @grace.setter
    def grace(self, grace: int) -> None:
        self._cells[_GRACE] = grace

    @property
    def patience(self) -> int:
        """How long the master may make no progress after that instant."""
        return self._cells[_PATIENCE]

    @patience.setter
    def patience(self, patience: int) -> None:
        self._cells[_PATIENCE] = patience

    def entries(self) -> dict[int, int]:
        """Return pid -> graceful timeout of every process in the table."""
        pids = self._cells[_FIRST::2].tolist()
        return {pid: self._cells[_FIRST + 2 * place + 1] for place, pid in enumerate(pids) if pid}


class Pulse:
    """Where one worker writes the instant of its last heartbeat.

    It can be sent to a process that multiprocessing starts, if the table is shared; the process
    maps its own part of the memory.

    Args:
        cell: the worker's cell, of one int.
        fd: of the memory (-1: it is not shared by descriptor).
        place: which cell of it.
    """

    __slots__ = ("_fd", "_place", "cell")

    def __init__(self, cell: memoryview, fd: int, place: int) -> None:
        self.cell = cell
        self._fd = fd
        self._place = place

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _pulse, (DupFd(self._fd), self._place)


def _pulse(sent: Any, place: int) -> Pulse:
    fd = sent.detach()
    offset = 8 * place // mmap.PAGESIZE * mmap.PAGESIZE
    page = memoryview(_map(fd, mmap.PAGESIZE, offset)).cast("q")
    os.close(fd)
    cell = place - offset // 8
    return Pulse(page[cell : cell + 1], -1, place)


def _map(fd: int, length: int, offset: int = 0) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, length, offset=offset, trackfd=False)
    # It keeps a descriptor of its own, which nothing here needs.
    return mmap.mmap(fd, length, offset=offset)
