"""What processes use of memory and CPU, from ``/proc``.

Responsible for reading it, in a thread, and for not reading it too often. Never asks the manager:
this costs it nothing.
"""

import asyncio
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

MEMORY_AGE = 4.0
"""Seconds before the memory of a process is read again: the kernel walks all of it for that."""
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory(NamedTuple):
    """Bytes that are resident."""

    private: int
    shared: int


class Used(NamedTuple):
    """What one process uses."""

    memory: Memory | None
    cpu_seconds: float
    """User and system, since its start."""
    cpu_share: float | None
    """Of one CPU, since the last look (1.0: all of it); ``None`` at the first look."""


class Meter:
    """Looks at processes, at most as often as is worth it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="proc")
        self._memory: dict[int, tuple[float, Memory | None]] = {}
        self._cpu: dict[int, tuple[float, float, float | None]] = {}

    async def measure(self, pids: Iterable[int]) -> dict[int, Used]:
        """Return what these processes use; those that are gone are left out."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._measure, tuple(pids))

    def _measure(self, pids: tuple[int, ...]) -> dict[int, Used]:
        found = {}
        for pid in pids:
            seconds = cpu_seconds(pid)
            if seconds is not None:
                share = self._share(pid, seconds)
                found[pid] = Used(self._memory_of(pid), seconds, share)
        for pid in [pid for pid in self._cpu if pid not in found]:
            del self._cpu[pid]
            self._memory.pop(pid, None)
        return found

    def _share(self, pid: int, seconds: float) -> float | None:
        now = time.monotonic()
        at, before, share = self._cpu.get(pid, (now, seconds, None))
        if now - at >= 0.5:  # within less, one tick of the kernel's clock says nothing
            share = max(0.0, seconds - before) / (now - at)
        elif pid in self._cpu:
            return share
        self._cpu[pid] = (now, seconds, share)
        return share

    def _memory_of(self, pid: int) -> Memory | None:
        now = time.monotonic()
        known = self._memory.get(pid)
        if known is None or now - known[0] > MEMORY_AGE:
            known = self._memory[pid] = (now, memory(pid))
        return known[1]

    def close(self) -> None:
        """Let the thread go."""
        self._pool.shutdown(wait=False)


def cpu_seconds(pid: int) -> float | None:
    """Return the seconds of CPU that a process has used; ``None``: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK
    except (OSError, IndexError, ValueError):
        return None


def memory(pid: int) -> Memory | None:
    """Return the memory of a process; ``None``: it is gone."""
    private = shared = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Private_"):
                    private += int(line.split()[1])
                elif line.startswith(b"Shared_"):
                    shared += int(line.split()[1])
        return Memory(private * 1024, shared * 1024)
    except PermissionError:
        pass  # a worker with another user: everybody may read the rest, which is less exact
    except (OSError, ValueError, IndexError):
        return None
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, of_files = file.read().split()[:3]
        return Memory((int(resident) - int(of_files)) * _PAGE, int(of_files) * _PAGE)
    except (OSError, ValueError):
        return None
