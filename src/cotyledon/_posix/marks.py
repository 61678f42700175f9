"""A mark that a process's descendants inherit, and that a zombie still shows.

Responsible for telling whether a dead process comes from a worker, from the program itself, or
from somewhere else, whatever process group, session, user or program it has changed to. Never
limits anything.

The mark is the soft limit ``RLIMIT_LOCKS``. It is inherited through ``fork()`` and ``exec()``,
everybody may read it in ``/proc/<pid>/limits`` while the process has not been reaped, and it means
nothing: no kernel since Linux 2.4.25 looks at it. Of what else is inherited, nothing is at once
harmless and still there when the process is dead.

A mark is a magic number and a path of up to 31 bits. A process that wants to tell its descendants
apart takes ``path + 0`` for itself and what it starts from now on, and gives ``path + 1`` to its
workers. So managers nest: whatever a worker of the outer one becomes, its path begins as that
of this worker.
"""

import os
import resource

RLIMIT_LOCKS = 10  # resource has no name for it
_MAGIC = 0x2C07_1ED0  # above what anybody would set as a limit of locks
_BITS = 32
_ROOT = 1
_LOW = (1 << _BITS) - 1


def _pack(path: int) -> int:
    return _MAGIC << _BITS | path


def path_of(limit: int | None) -> int | None:
    """Return the path in a soft limit, ``None`` if this is no mark."""
    if limit is None or limit < 0 or limit >> _BITS != _MAGIC or not limit & _LOW:
        return None
    return limit & _LOW


def begins_with(path: int, start: int) -> bool:
    """Tell whether a path is this one, or a continuation of it."""
    return path >> max(0, path.bit_length() - start.bit_length()) == start


class Mark:
    """What this process has marked itself with, to know later what it has started.

    Raises:
        OSError: the hard limit leaves no room for a mark, or managers nest too deeply.
    """

    def __init__(self) -> None:
        self._before, hard = resource.getrlimit(RLIMIT_LOCKS)
        # The first process has nothing above it: a mark can only be that of this very process,
        # from before an exec().
        above = None if os.getpid() == 1 else path_of(self._before)
        self.program = (above or _ROOT) << 1
        self.worker = self.program | 1
        if self.program > _LOW:
            raise OSError("managers nest too deeply")
        if not _set(_pack(self.program), hard):
            raise OSError("the hard limit RLIMIT_LOCKS is in the way")

    def remove(self) -> None:
        """Give this process back the limit that it had."""
        _set(self._before, resource.getrlimit(RLIMIT_LOCKS)[1])


def mark_worker() -> None:
    """In a new worker: tell it and its descendants from what the program itself starts.

    Does nothing if the master is not marked; the second time, too.
    """
    soft, hard = resource.getrlimit(RLIMIT_LOCKS)
    path = path_of(soft)
    if path is not None:
        _set(_pack(path | 1), hard)


def _set(soft: int, hard: int) -> bool:
    try:
        resource.setrlimit(RLIMIT_LOCKS, (soft, hard))
    except (OSError, ValueError):
        return False
    return True


def limit_of(pid: int) -> int | None:
    """Return the soft limit of a process, which may be a zombie; ``None`` if it is not to be had.

    Not by ``prlimit()``, which asks for rights over the process. ``RLIM_INFINITY`` is -1.
    """
    try:
        with open(f"/proc/{pid}/limits", "rb", buffering=0) as file:
            text = file.read(8192)
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(b"Max file locks"):
            soft = line.split()[3]
            return resource.RLIM_INFINITY if soft == b"unlimited" else int(soft)
    return None
