"""The place of a manager in the file system: the lock on its name, and its socket.

Responsible for making both before anything is started, so that a second manager fails at once, and
for leaving nothing behind. Never speaks to a client.

The lock is an flock(2) on an open file. Its descriptor is no worker's and not the guard's, so the
lock ends with the master, however that ends. The file itself stays.
"""

import _socket
import errno
import fcntl
import os
import stat
import time
from typing import Any, Self

from cotyledon._posix.fork import FORKS
from cotyledon._posix.limits import open_standard_descriptors
from cotyledon._where import check_name, check_path, own_folder

BACKLOG = 64
PATIENCE = 2.0
"""Seconds to wait for another manager that puts its socket into the same folder."""
PAUSE = 0.01


class Place:
    """A manager's name, its lock and its socket.

    Args:
        name: of the manager, for its lock; ``None``: no lock.
        control: the path of the socket; ``True``: below the run folder; ``None``: no socket.

    Raises:
        TypeError: one of them has the wrong type.
        ValueError: the name or the path cannot be one, or there is no folder for them.
    """

    def __init__(self, name: Any, control: Any) -> None:
        self.name = None if name is None else check_name(name)
        self.path = self._path(control)
        self.lock_path = self._lock_path()
        self.listener = -1
        self._lock = -1
        self._pid = -1  # of the process that has taken it
        self._inode: tuple[int, int] | None = None

    def _path(self, control: Any) -> str | None:
        if control is None or control is False:
            return None
        if control is True:
            if self.name is None:
                raise ValueError("control=True needs a name=, or give a path as control=")
            return check_path(os.path.join(self._folder(), f"{self.name}.sock"))
        try:
            path = os.fspath(control)
        except TypeError:
            text = f"'control' must be True, False or the path of a socket, not: {control!r}"
            raise TypeError(text) from None
        if not isinstance(path, str) or not path:
            raise ValueError(f"'control' must be the path of a socket as a string, not: {path!r}")
        return check_path(os.path.abspath(path))

    def _folder(self) -> str:
        folder = own_folder()
        if folder is None:
            raise ValueError(
                "there is no folder for the control socket and the lock of a manager: "
                "$XDG_RUNTIME_DIR is not set; set it, or give a path as control="
            )
        return folder

    def _lock_path(self) -> str | None:
        if self.name is None:
            return None
        # Without a run folder, what a path was given for has to do.
        own = own_folder()
        folder = os.path.dirname(self.path) if own is None and self.path else self._folder()
        return os.path.join(folder, f"{self.name}.lock")

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._pid:  # or a hook has forked, and this is its child
            self.leave()

    def take(self) -> None:
        """Take the lock, and listen.

        Raises:
            RuntimeError: another manager has the name or the socket, or the file system refuses.
        """
        open_standard_descriptors()
        self._pid = os.getpid()
        try:
            if self.lock_path is not None:
                _make_folder(os.path.dirname(self.lock_path))
                self._take_lock(self.lock_path)
            if self.path is not None:
                _make_folder(os.path.dirname(self.path))
                self._listen(self.path)
        except OSError as error:
            self.leave()
            where = error.filename or self.path or self.lock_path
            raise RuntimeError(
                f"cannot make the control socket or the lock: {where}: {error.strerror}"
            ) from error
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Remove the socket, if it is still ours, and let go of the name."""
        if self.listener >= 0:
            if self.path is not None and self._inode == _inode(self.path):
                try:
                    os.unlink(self.path)
                except OSError:
                    pass  # the folder has gone, or is not ours any more
            self.listener = _close(self.listener)
        if self._lock >= 0:
            self._lock = _close(self._lock)

    # The lock

    def _take_lock(self, path: str) -> None:
        with FORKS.lock:  # no thread forks between the map and the descriptor
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = self._lock = os.open(path, flags, 0o600)
            FORKS.own(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "not written yet"
            raise RuntimeError(
                f"a manager with the name {self.name!r} is running already: pid {holder} holds "
                f"{path}"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)

    # The socket

    def _listen(self, path: str) -> None:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _have_alone(folder, path)
            _make_room(path)
            with FORKS.lock:
                end = _socket.socket(
                    _socket.AF_UNIX,
                    _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC,
                    0,
                )
                fd = self.listener = end.detach()
                FORKS.own(fd)
            # The file gets the socket's own mode: there is no instant at which it has another.
            os.fchmod(fd, 0o600)
            end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            try:
                end.bind(path)
                self._inode = _inode(path)
                end.listen(BACKLOG)
            except OSError as error:
                error.filename = error.filename or path
                raise
            finally:
                end.detach()
        finally:
            os.close(folder)


def _have_alone(folder: int, path: str) -> None:
    """Be the only one that puts a socket into a folder, until its descriptor is closed."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise RuntimeError(
                    f"the folder of the control socket {path} is locked by another process"
                ) from None
            time.sleep(PAUSE)  # before the run: there is nothing yet to be supervised
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOLCK):
                raise
            return  # such a file system knows no locks
        else:
            return


def _make_room(path: str) -> None:
    """Remove a socket that nobody listens at."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise RuntimeError(f"cannot make the control socket: {path} is there, and is no socket")
    probe = _socket.socket(
        _socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0
    )
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        raise _taken(path) from None  # somebody listens, and has much to do
    else:
        raise _taken(path)
    finally:
        probe.close()


def _taken(path: str) -> RuntimeError:
    return RuntimeError(f"another process listens at the control socket {path} already")


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, 0o700)
    except FileExistsError:
        pass


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _close(fd: int) -> int:
    with FORKS.lock:
        FORKS.disown(fd)
        os.close(fd)
    return -1
