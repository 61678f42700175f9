"""Memory: whether the kernel has killed for want of it, and how much of it is a process's own.

Responsible for reading what the kernel counts, and for saying where it may not be read. Never
decides what a number means for a worker, never raises for a file that is missing or odd, and
reads nothing unless asked.
"""

import os
import time
from logging import ERROR

from cotyledon._posix.cgroups import own_directory
from cotyledon._posix.seldom import Seldom

_FRESH = 1_000_000_000
"""How long, in nanoseconds, a kill that was counted may still explain a death."""
_HOUR = 3600 * 1_000_000_000
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OWN = ("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:")


class OutOfMemory:
    """Tells deaths for want of memory from other SIGKILLs that we did not send.

    The kernel does not say whom it has killed, only how often it did so. So this is an inference:
    a worker died of a SIGKILL, and the kernel has killed since the last look. It is wrong

    - if since then something else was killed for want of memory (a process that a worker has
      started; on a machine without a memory controller for us, anything at all), and somebody
      else has killed the worker with SIGKILL;
    - if a limit further down has struck, in a control group of cgroup v1 that the program has
      made below its own: v1 counts where the process was, and only there.

    One kill explains one death, and none that is noticed more than a second after its first
    look. Counted is, in this order: ``oom_kill`` of our own control group (v2, which includes
    those below it; then v1), or that of the whole machine in ``/proc/vmstat``. A group is asked
    first because it also counts kills for want of memory in the machine, if they hit its members.
    """

    def __init__(self) -> None:
        self._source = _find_source()
        self._seen = self._read()
        self._unexplained = 0
        self._fresh_until = 0

    @property
    def source(self) -> str | None:
        """The file that is read; ``None`` if this kernel counts nowhere."""
        return self._source

    def killed(self) -> bool:
        """Tell whether a death by SIGKILL that was just noticed was for want of memory."""
        count = self._read()
        now = time.monotonic_ns()
        if now >= self._fresh_until:
            self._unexplained = 0
        if count > self._seen:
            self._unexplained += count - self._seen
            self._fresh_until = now + _FRESH
        self._seen = count
        if not self._unexplained:
            return False
        self._unexplained -= 1
        return True

    def _read(self) -> int:
        count = None if self._source is None else kills(self._source)
        return 0 if count is None else count


def kills(path: str) -> int | None:
    """Return the number that a file of the kernel's tells of ``oom_kill``, if it does."""
    text = _read(path)
    for line in text.splitlines():
        name, _, value = line.partition(b" ")
        if name == b"oom_kill":
            try:
                return int(value)
            except ValueError:
                return None
    return None


def _find_source() -> str | None:
    candidates = ["/proc/vmstat"]
    for controller, file in (("memory", "memory.oom_control"), ("", "memory.events")):
        directory = own_directory(controller)
        if directory is not None:
            candidates.insert(0, f"{directory}/{file}")
    for path in candidates:
        if kills(path) is not None:
            return path
    return None


def private(pid: int, limit: int) -> int | None:
    """Return how many bytes of memory are this process's alone, or a bound below the limit.

    What a forked worker shares with its master and its siblings is not its own. The exact number
    makes the kernel walk through the page tables (about 4 ms for a gigabyte), so it is not asked
    for while the resident set, which is never smaller, is below the limit.

    Args:
        pid: of any process that we may look at.
        limit: what the caller wants to compare with.

    Returns:
        The resident set if it is below the limit, else the private memory, with huge pages;
        ``None`` if the process is gone, or is a zombie.

    Raises:
        PermissionError: we may not look, because the process has changed its user and we have
            no ``CAP_SYS_PTRACE``.
    """
    fields = _read(f"/proc/{pid}/statm").split()
    try:
        resident = int(fields[1]) * _PAGE
    except (IndexError, ValueError):
        return None
    if not resident:
        return None  # a zombie
    if resident < limit:
        return resident
    total = 0
    seen = False
    try:
        text = _read_all(f"/proc/{pid}/smaps_rollup")
    except PermissionError:
        raise
    except OSError:
        return None
    for line in text.decode("ascii", "replace").splitlines():
        if line.startswith(_OWN):
            try:
                total += int(line.split()[1]) * 1024
            except (IndexError, ValueError):
                return None
            seen = True
    return total if seen else None


def private_or_say(name: str | None, pid: int, limit: int, seldom: Seldom) -> int | None:
    """Return the same of a worker of a service; if we may not look, log that now and then."""
    try:
        return private(pid, limit)
    except PermissionError:
        seldom.say(
            _HOUR,
            ERROR,
            "%s: not allowed to look at the memory of its workers, so none is recycled for it: "
            "where they are another user's, that needs CAP_SYS_PTRACE",
            name,
        )
        return None


def _read(path: str) -> bytes:
    try:
        return _read_all(path)
    except OSError:
        return b""


def _read_all(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        pieces = []
        while piece := file.read(1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
