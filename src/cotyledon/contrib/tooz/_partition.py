"""What a worker asks: is this key mine?

Responsible for answering at once, from shared memory, and for telling of changes. Never speaks to
a coordination server, and has no thread unless somebody wants to be told.
"""

import logging
import os
import select
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from cotyledon.contrib.tooz._memory import Memory
from cotyledon.contrib.tooz._ring import hash_of, worker_of

LOG = logging.getLogger("cotyledon.tooz")
NEVER = (1 << 64) - 1
"""An instant after all others: since when a key is owned that is somebody else's."""
_CACHED = 1 << 16
_SECOND = 1_000_000_000
_TRIES = 100


def clock() -> int:
    """Return the time in nanoseconds; it goes on while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class _Known(NamedTuple):
    """What was read from the shared memory, and what follows from it."""

    version: int = -1
    crew_version: int = -1
    lows: tuple[int, ...] = ()
    highs: tuple[int, ...] = ()
    sinces: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    mine: bool = False
    """Whether this process is the one that its slot belongs to."""
    cache: dict[bytes, int] = {}  # noqa: RUF012 - each one that is used is given its own


class Partition:
    """A worker's part of the work of its group; made by :meth:`Share.partition`.

    It can be asked from any thread. Children that the worker forks may ask it as well, and are
    answered as the worker is.
    """

    def __init__(
        self, memory: Memory, number: int, worker_id: int, host: str, *, keep: bool
    ) -> None:
        self._memory = memory
        self._number = number
        self._worker_id = worker_id
        self._host = host
        self._keep = keep
        self._pid = os.getpid()
        self._known = _Known()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def member(self) -> str:
        """Who this worker is in the group: ``host/service/worker id``; it never changes."""
        return f"{self._host}/{self._memory.names()[self._number]}/{self._worker_id}"

    def owns(self, key: str | bytes) -> bool:
        """Tell whether a key belongs to this worker now.

        It costs about a microsecond for a key that was asked for before, and some more for others
        and after each change. Nothing is owned by a worker that is not ready yet.

        Args:
            key: names a piece of work; a string is the same key as its UTF-8 encoding.
        """
        data = key.encode() if isinstance(key, str) else key
        memory = self._memory
        for _ in range(_TRIES):
            until = memory.until  # before the versions: it is stored after them
            known, crew_version = self._known, memory.crew_version
            if known.version == memory.version and known.crew_version == crew_version:
                break
            if not crew_version & 1:
                self._learn()
        else:
            return False  # it changes faster than it can be read
        if not known.mine:
            return False
        since = known.cache.get(data)
        if since is None:
            since = self._find(known, data)
        if self._keep:
            return since != NEVER
        return since <= clock() < until

    def on_change(self, callback: Callable[[], object]) -> None:
        """Have a function called whenever keys may have come or gone.

        The calls are made one after the other in a thread of the partition, which is started for
        the first callback. One call may stand for several changes; an exception is logged.

        Args:
            callback: called without arguments.

        Raises:
            TypeError: it is not callable.
        """
        if not callable(callback):
            raise TypeError(f"on_change(): 'callback' must be a callable, not: {callback!r}")
        with self._lock:
            self._callbacks.append(callback)
            if len(self._callbacks) > 1:
                return
        bell = select.epoll()
        # Each who waits is woken by each ringing, and nobody reads.
        bell.register(self._memory.bell, select.EPOLLIN | select.EPOLLET)
        # What happens from here on is told, however late the thread begins.
        threading.Thread(
            target=self._listen, args=(bell, *self._phase()), name="partition", daemon=True
        ).start()

    def _learn(self) -> None:
        memory = self._memory
        crew_version = memory.crew_version  # before what it stands for
        slots = tuple(memory.crew(self._number))
        arcs = memory.arcs()
        names = memory.names()
        name = names[self._number] if self._number < len(names) else ""
        held = arcs.services.get(name, [])
        self._known = _Known(
            arcs.version,
            crew_version,
            tuple(arc.low for arc in held),
            tuple(arc.high for arc in held),
            tuple(arc.since for arc in held),
            slots,
            self._worker_id < len(slots) and slots[self._worker_id] == self._pid,
            {},
        )

    def _find(self, known: _Known, key: bytes) -> int:
        place = hash_of(key)
        index = bisect_right(known.lows, place) - 1
        since = NEVER
        here = index >= 0 and place < known.highs[index]
        if here and worker_of(place, known.slots) == self._worker_id:
            since = known.sinces[index]
        if len(known.cache) >= _CACHED:
            known.cache.clear()
        known.cache[key] = since
        return since

    # Changes

    def _listen(self, bell: select.epoll, seen: tuple[int, ...], wait: float | None) -> None:
        while True:
            bell.poll(wait)
            phase, wait = self._phase()
            if phase != seen:
                seen = phase
                for callback in self._callbacks:
                    try:
                        callback()
                    except (
                        BaseException
                    ):  # sys.exit() would end this thread, and nobody would know
                        LOG.exception("the on_change callback %r has failed", callback)

    def _phase(self) -> tuple[tuple[int, ...], float | None]:
        """Return what does not change unless ownership may, and how long it lasts by itself."""
        memory = self._memory
        self.owns(b"")  # reads what is new
        known, until, now = self._known, memory.until, clock()
        if self._keep:
            return (known.version, known.crew_version), None
        waiting = [since for since in known.sinces if since > now]
        ends = [*waiting, *([until] if until > now else [])]
        phase = (known.version, known.crew_version, until > now, len(waiting))
        return phase, (min(ends) - now) / _SECOND + 0.001 if ends else None


class Share(NamedTuple):
    """What :meth:`Group.add` passes to each worker of a service as ``share``."""

    memory: Memory
    number: int
    group: str
    host: str
    keep: bool

    def partition(self, worker_id: int) -> Partition:
        """Return this worker's part of the work.

        Args:
            worker_id: of the worker that asks.
        """
        return Partition(self.memory, self.number, worker_id, self.host, keep=self.keep)
