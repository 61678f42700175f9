"""What processes use of memory and CPU, as ``/proc`` tells it.

Responsible for reading and for remembering the last minute. Never asks the manager, never
raises: what cannot be read is not known (``None``).
"""

import os
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

KEPT = 60
"""How many samples of a process are remembered."""
_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """A line of ``/proc/PID/stat``."""

    ppid: int
    cpu: float
    """Seconds of CPU so far."""
    born: int
    """When it began: a pid alone does not tell one process from the next."""


class Usage:
    """One process, and what it has used lately."""

    def __init__(self, born: int) -> None:
        self.born = born
        self.memory: deque[float | None] = deque(maxlen=KEPT)
        """Bytes that are its own (``Private_*``), the newest last."""
        self.cpu: deque[float | None] = deque(maxlen=KEPT)
        """Percent of one CPU."""
        self._seconds: float | None = None
        self._at = 0.0

    def add(self, stat: Stat, memory: int | None, now: float) -> None:
        """Add a sample."""
        if self._seconds is not None and now > self._at:
            self.cpu.append(100 * max(0.0, stat.cpu - self._seconds) / (now - self._at))
        self._seconds, self._at = stat.cpu, now
        self.memory.append(memory)


class Meter:
    """Samples the workers of a manager.

    Args:
        master: the pid of the manager: a process that does not descend from it is somebody
            else's, in another PID namespace than the manager's.
    """

    def __init__(self, master: int) -> None:
        self._master = master
        self.usages: dict[int, Usage] = {}

    def sample(self, pids: Iterable[int]) -> None:
        """Add a sample of each process, and forget the others."""
        found: dict[int, Usage] = {}
        for pid in pids:
            stat = read_stat(pid)
            if stat is None or not self._ours(stat):
                continue
            usage = self.usages.get(pid)
            if usage is None or usage.born != stat.born:
                usage = Usage(stat.born)
            usage.add(stat, private_memory(pid), time.monotonic())
            found[pid] = usage
        self.usages = found

    def _ours(self, stat: Stat) -> bool:
        # Two steps: a fork server may be in between.
        if stat.ppid == self._master:
            return True
        parent = read_stat(stat.ppid)
        return parent is not None and parent.ppid == self._master


def read_stat(pid: int) -> Stat | None:
    """Read one process's line."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) * _TICK, int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def private_memory(pid: int) -> int | None:
    """Return the bytes that a process shares with no other; ``None``: not ours to read."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Private_"):
                    total += int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return total
