"""The memory that a manager shares with its workers: what they own, and which of them are there.

Responsible for the layout, and for reading it whole while others write. Never decides who owns
what. There are two writers, each with an area of its own: the process that holds the membership
writes the arcs, the master which workers are ready. A writer never waits, and may be killed at any
instant. Each writing rings a bell that wakes everybody who waits for it.

The first page has one cell of eight bytes each for the versions, the instant until which the arcs
are believed, and flags. Arcs are written into one of two places in turn, with a checksum, and are
there when their version is stored.
"""

import json
import mmap
import os
import zlib
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cotyledon.contrib.tooz._members import Holding

SERVICES = 16
"""Services that a group may have in one manager."""
WORKERS = 4096
"""Workers of one service that it knows."""
_PAGE = 4096
_VERSION, _UNTIL, _CREW, _STOPPING, _NAMED, _MASTER = range(6)  # cells of the first page
_COUNTS = 16  # and from here on: one cell for each service
_NAME = 256  # bytes for the name of a service
_CREWS = _PAGE + SERVICES * _NAME
_PLACE = 64 << 20  # bytes for the arcs; what is not written to takes no memory
_PLACES = _CREWS + SERVICES * WORKERS * 4
_SIZE = _PLACES + 2 * _PLACE
_HEAD = 16  # bytes before the arcs: their length and their checksum
_TRIES = 1000


class Arcs(NamedTuple):
    """What was written last."""

    version: int
    services: dict[str, list[Holding]]


class Memory:
    """Shared by the processes of a manager; it is inherited, or sent to workers as they start."""

    def __init__(self) -> None:
        fd = os.memfd_create("cotyledon-tooz", os.MFD_CLOEXEC)
        os.ftruncate(fd, _SIZE)
        self._map(fd, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def _map(self, fd: int, bell: int) -> None:
        self._fd, self.bell = fd, bell
        self._memory = mmap.mmap(fd, _SIZE)
        view = memoryview(self._memory)
        self._cells = view[:_PAGE].cast("Q")
        self._pids = view[_CREWS:_PLACES].cast("I")
        self._view = view

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import reduction  # here: only other start methods than fork need it

        return _arrive, (reduction.DupFd(self._fd), reduction.DupFd(self.bell))

    def ring(self) -> None:
        """Wake whoever waits at the bell."""
        try:
            os.eventfd_write(self.bell, 1)
        except BlockingIOError:
            pass  # nobody has ever read it: it has been rung 2**64 times

    # Written by the holder of the membership

    def publish(self, services: Mapping[str, Sequence[Holding]], until: int) -> None:
        """Write what is owned, and until when.

        Raises:
            ValueError: it is more than there is room for.
        """
        cells, index = array("Q"), {}
        for name, held in services.items():
            index[name] = len(held)
            for arc in held:
                cells.extend(arc)
        head = json.dumps(index).encode()
        body = len(head).to_bytes(8, "little") + head + cells.tobytes()
        if len(body) > _PLACE - _HEAD:
            raise ValueError(f"{len(cells) // 3} arcs are more than a manager can have")
        version = self._cells[_VERSION] + 1
        start = _PLACES + (version & 1) * _PLACE
        self._view[start + _HEAD : start + _HEAD + len(body)] = body
        lead = len(body).to_bytes(8, "little") + _sum(version, body).to_bytes(8, "little")
        self._view[start : start + _HEAD] = lead
        self._cells[_VERSION] = version
        self._cells[_UNTIL] = until
        self.ring()

    def extend(self, until: int) -> None:
        """Have what was written believed until another instant."""
        self._cells[_UNTIL] = until

    @property
    def until(self) -> int:
        """Until when the arcs are believed, in nanoseconds; 0: not at all."""
        return int(self._cells[_UNTIL])

    @property
    def version(self) -> int:
        """Of the arcs."""
        return int(self._cells[_VERSION])

    def arcs(self) -> Arcs:
        """Read what was written last, whole."""
        for _ in range(_TRIES):
            version = self.version
            if not version:
                break
            start = _PLACES + (version & 1) * _PLACE
            length = int.from_bytes(self._view[start : start + 8], "little")
            wanted = int.from_bytes(self._view[start + 8 : start + _HEAD], "little")
            body = bytes(self._view[start + _HEAD : start + _HEAD + min(length, _PLACE - _HEAD)])
            if wanted == _sum(version, body):
                return Arcs(version, _read(body))
        return Arcs(0, {})  # nothing was ever written, or it is being written faster than read

    # Written by the master

    def name(self, number: int, name: str) -> None:
        """Say what a service is called."""
        raw = name.encode()[: _NAME - 1]
        start = _PAGE + number * _NAME
        self._view[start : start + 1 + len(raw)] = bytes([len(raw)]) + raw
        self._cells[_NAMED] = max(self._cells[_NAMED], number + 1)

    def names(self) -> list[str]:
        """Return the names of the services, by number."""
        found = []
        for number in range(self._cells[_NAMED]):
            start = _PAGE + number * _NAME
            raw = bytes(self._view[start + 1 : start + 1 + self._view[start]])
            found.append(raw.decode(errors="replace"))
        return found

    def enter(self, number: int, worker_id: int, pid: int, count: int) -> None:
        """Say which process is the worker of this id.

        Args:
            number: of the service.
            worker_id: below :data:`WORKERS`.
            pid: of the process; 0: none.
            count: how many workers the service has, with those that are not there at the moment.
        """
        self._cells[_CREW] += 1
        self._pids[number * WORKERS + worker_id] = pid
        self._cells[_COUNTS + number] = count
        self._cells[_CREW] += 1
        self.ring()

    @property
    def crew_version(self) -> int:
        """It changes with what :meth:`crew` returns; odd: that is being changed at the moment.

        Nobody owns by a crew that is being changed: some would by what it was, others by what it
        is going to be.
        """
        return int(self._cells[_CREW])

    def crew(self, number: int) -> list[int]:
        """Return the pids of a service's workers by id, 0 where none is ready."""
        start, count = number * WORKERS, self._cells[_COUNTS + number]
        return self._pids[start : start + count].tolist()

    def stop(self) -> None:
        """Say that the manager is stopping."""
        self._cells[_STOPPING] = 1

    @property
    def stopping(self) -> bool:
        """Whether the manager is stopping."""
        return bool(self._cells[_STOPPING])

    @property
    def master(self) -> int:
        """The pid of the manager's process."""
        return int(self._cells[_MASTER])

    @master.setter
    def master(self, pid: int) -> None:
        self._cells[_MASTER] = pid


def _arrive(fd: Any, bell: Any) -> Memory:
    memory = Memory.__new__(Memory)
    memory._map(fd.detach(), bell.detach())
    return memory


def _sum(version: int, body: bytes) -> int:
    return zlib.crc32(body, version & 0xFFFFFFFF)


def _read(body: bytes) -> dict[str, list[Holding]]:
    end = 8 + int.from_bytes(body[:8], "little")
    cells = array("Q", body[end:])
    at, found = 0, {}
    for name, count in json.loads(body[8:end]).items():
        flat = cells[at : at + 3 * count]
        found[name] = [Holding(*flat[i : i + 3]) for i in range(0, len(flat), 3)]
        at += 3 * count
    return found
