"""Control groups: which one is ours, and one of its own for each worker where that is allowed.

Responsible for finding the directory of this process's control group, for making, entering,
killing and removing the groups of workers below it, and for what a killed master has left there.
Never waits but at the very end, never changes a controller or a limit, and never touches a group
that a living master or guard holds.

A worker's process group is left by whoever calls ``setsid()``; its control group is not: what is
in it dies with one write to ``cgroup.kill``. That needs cgroup v2, Linux 5.14, and a directory
that was delegated to us (``Delegate=yes`` in a systemd unit): the init system owns the others.

The layout, below our own group::

    cotyledon.<pid>[.<n>]      one for each master, locked by it and by its guard
        <name>                 one for each worker

The lock is an ``flock(2)`` on the directory that the guard inherits. Once nobody holds it, what
is in there is nobody's, in whatever PID namespace its master was.

Measured for one worker on a quiet machine with two CPUs: making the group takes the master 40 us,
killing it 200 us, removing it 15 us; moving into it takes the worker 60 us. The move is what can
cost more: the kernel waits until no CPU is in the middle of a fork or an exit, which takes
milliseconds where there are many CPUs with much to do.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from logging import WARNING

from cotyledon._posix.fork import FORKS

PREFIX = "cotyledon."
_ATTEMPTS = 100
_LAST_LOOKS = 50
_PAUSE = 0.02
"""Seconds between two of the last looks."""


def own_directory(controller: str = "") -> str | None:
    """Return the directory of this process's control group, if it is mounted anywhere.

    Args:
        controller: of cgroup v1; an empty string means cgroup v2.
    """
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            groups = file.read()
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
    except OSError:
        return None
    path = _path(groups, controller)
    if path is None:
        return None
    for root, mount_point in _mounts(mounts, controller):
        directory = _below(path, root, mount_point)
        if directory is not None and os.path.isdir(directory):
            return directory
    return None


def _path(groups: str, controller: str) -> str | None:
    """Find the path of our group in the text of ``/proc/self/cgroup``."""
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(",") and (controller or number == "0"):
            return path
    return None


def _mounts(mounts: str, controller: str) -> Iterator[tuple[str, str]]:
    """Find where a hierarchy is mounted in the text of ``mountinfo``: root and mount point."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == ("cgroup" if controller else "cgroup2") and (
            not controller or controller in kind[2].split(",")
        ):
            yield _unescape(fields[3]), _unescape(fields[4])


def _unescape(path: str) -> str:
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        path = path.replace("\\" + code, character)
    return path


def _below(path: str, root: str, mount_point: str) -> str | None:
    if ".." in path.split("/"):
        return None  # outside of our cgroup namespace
    if root == "/":
        return mount_point.rstrip("/") + path.rstrip("/")
    if path == root or path.startswith(root + "/"):
        return mount_point + path[len(root) :]
    return None


def _is_delegated(directory: str) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(directory, name) == b"1":
                return os.access(directory, os.W_OK | os.X_OK) and os.access(
                    directory + "/cgroup.procs", os.W_OK
                )
        except OSError:  # not set; none of our business (trusted.*); not known to the kernel
            pass
    return False


class Cgroup:
    """The control group of one worker.

    Args:
        directory: where it is.
    """

    __slots__ = ("directory",)

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def enter(self, pid: int = 0) -> bool:
        """Move a process into the group, a child just after it was forked; return whether it is.

        If the kernel does not want that, the process stays where it was, and dies with its
        process group alone.

        Args:
            pid: the process (0: this one).
        """
        try:
            _write(self.directory + "/cgroup.procs", b"%d" % pid)
        except OSError:
            return False
        return True

    def kill(self) -> bool:
        """Kill everything in the group and below it; return false if that was not possible.

        What is being forked at this moment dies, too. A group that is gone is no error.
        """
        try:
            _write(self.directory + "/cgroup.kill", b"1")
        except FileNotFoundError:
            return not os.path.isdir(self.directory)
        except OSError as error:
            return isinstance(error, ProcessLookupError)
        return True

    def remove(self) -> bool:
        """Remove the directory, with those that the worker has made in it.

        Returns:
            Whether it is gone. It is busy as long as a process in it is on its way out: try
            again some milliseconds later.
        """
        return _remove(self.directory)


class Cgroups:
    """The control groups of one master's workers. See :meth:`find`.

    Args:
        directory: of this master; exists.
        fd: an open descriptor of it that holds its lock.
    """

    def __init__(self, directory: str, fd: int) -> None:
        self.directory = directory
        self.fd = fd
        """Keeps what is here from being swept away by another master. Forked workers do not have
        it, the guard must keep it."""
        self.busy: list[Cgroup] = []
        self._said = False
        """Those of dead workers in which something is still on its way out."""
        FORKS.own(fd)

    @classmethod
    def find(cls) -> "Cgroups | None":
        """Return the groups of a new master, if our own group is delegated to us.

        It also clears away what masters have left that were killed along with their guards. In
        the main thread, before the first worker is started.
        """
        above = own_directory()
        if above is None or not _is_delegated(above):
            return None
        sweep(above)
        for attempt in range(_ATTEMPTS):
            # The number of a master whose workers and guard live on may be ours now.
            suffix = f".{attempt}" if attempt else ""
            directory = f"{above}/{PREFIX}{os.getpid()}{suffix}"
            try:
                os.mkdir(directory)
            except FileExistsError:
                continue
            except OSError:
                return None
            fd = _lock(directory)
            if fd is None:
                continue  # somebody who is sweeping up took it for a leftover
            if os.path.exists(directory + "/cgroup.kill"):
                return cls(directory, fd)
            os.close(fd)  # Linux before 5.14
            _remove(directory)
            return None
        return None

    def make(self, name: str) -> Cgroup | None:
        """Make the group of a worker; return ``None`` if there is no making it.

        Args:
            name: unlike those of the other workers that there are; a file's name.
        """
        cgroup = self.at(name)
        # A former worker's that was not removed yet? Nobody may be left in it.
        if os.path.isdir(cgroup.directory) and not (cgroup.kill() and cgroup.remove()):
            return None
        try:
            os.mkdir(cgroup.directory)
        except OSError:
            return None
        return cgroup

    def make_or_say(self, name: str, say: Callable[..., None]) -> Cgroup | None:
        """Make the group of a worker; log it if that cannot be done, the first time."""
        cgroup = self.make(name)
        if cgroup is None and not self._said:
            self._said = True
            say(WARNING, "no control group can be made: process groups have to do")
        return cgroup

    def at(self, name: str) -> Cgroup:
        """Return the group of this name, whether it exists or not: for the guard."""
        return Cgroup(f"{self.directory}/{name}")

    def retire(self, cgroup: Cgroup) -> None:
        """Kill what a dead worker has left in its group, and remove it, now or later."""
        cgroup.kill()
        if not cgroup.remove():
            self.busy.append(cgroup)

    def tidy(self) -> bool:
        """Try again to remove what was busy; return whether something still is."""
        self.busy[:] = [cgroup for cgroup in self.busy if not cgroup.remove()]
        return bool(self.busy)

    def kill(self) -> bool:
        """Kill everything in the groups of all workers, at once."""
        return Cgroup(self.directory).kill()

    def sweep(self) -> bool:
        """Remove what is empty of our groups, and ours altogether; return whether it is gone.

        At the end of the master, or of the guard after it.
        """
        return _remove(self.directory)

    def finish(self) -> bool:
        """Sweep, and give what was killed a moment to leave: nobody else is waiting any more."""
        for _ in range(_LAST_LOOKS):
            if self.sweep():
                return True
            time.sleep(_PAUSE)
        return False

    def close(self) -> None:
        """Let go of the lock."""
        if self.fd >= 0:
            with FORKS.lock:
                FORKS.disown(self.fd)
                os.close(self.fd)
            self.fd = -1


def sweep(above: str) -> int:
    """Kill and remove what masters have left that are gone, and whose guards are gone.

    Args:
        above: the group of these masters, and ours.

    Returns:
        How many of them there were. What is not empty at once is left to the next sweep.
    """
    try:
        names = [name for name in os.listdir(above) if name.startswith(PREFIX)]
    except OSError:
        return 0
    found = 0
    for name in names:
        directory = f"{above}/{name}"
        fd = _lock(directory)
        if fd is None:
            continue
        found += 1
        Cgroup(directory).kill()
        _remove(directory)
        os.close(fd)
    return found


def _lock(directory: str) -> int | None:
    """Return a locked descriptor; ``None`` if somebody else has locked it, or it is gone."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(directory).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _remove(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    else:
        return True
    try:
        # The kernel's files in it vanish with it; only directories hold it up.
        with os.scandir(directory) as entries:
            inside = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        # All of them, even if the first is still busy.
        if inside and False not in [_remove(path) for path in inside]:
            os.rmdir(directory)
            return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False
