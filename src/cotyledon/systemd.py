"""Speaking to the init system: the datagrams of ``sd_notify(3)``.

Responsible for the notification socket and the watchdog's variables, and for keeping these and
those of socket activation from the workers. Never decides what to say, never fails, and never
waits but for a barrier: a program that is not run by systemd has nobody to tell.
"""

import _socket
import errno
import os
import select
import sys

from cotyledon._posix.fork import FORKS

LONGEST = 4096
"""Bytes of a datagram; systemd drops one that is longer."""
OURS = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)
"""What is meant for the master alone."""
_LATER = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.EINTR, errno.ENOMEM})


class Notifier:
    """Speaks to the socket that ``NOTIFY_SOCKET`` names, and removes the variables.

    The sockets of a socket activation stay open: the program has taken them before, or does not
    want them. Only the variables go, which name the master's pid and are wrong in a worker.
    """

    def __init__(self) -> None:
        found = {name: os.environ.pop(name, "") for name in OURS}
        address = found["NOTIFY_SOCKET"]
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = _watchdog(found) if self.listens else None
        """Nanoseconds after which the init system wants to have heard ``WATCHDOG=1`` again."""

    @property
    def listens(self) -> bool:
        """Whether there is somebody to tell: a path, or an abstract address."""
        return self._address[:1] in ("/", "\0") and len(self._address) > 1

    def tell(self, *lines: str) -> bool:
        """Send one datagram, such as ``READY=1``.

        Returns:
            False if it is worth trying again later: the socket is full.
        """
        return self._send("\n".join(lines).encode(errors="replace")[:LONGEST])

    def barrier(self, timeout: float) -> None:
        """Wait until the init system has taken in everything that was sent before.

        Args:
            timeout: seconds that this may take at most.
        """
        if not self.listens:
            return
        try:
            with FORKS.lock:  # no child gets a copy of the end that has to be closed
                ours, theirs = os.pipe2(os.O_CLOEXEC)
                try:
                    rights = theirs.to_bytes(4, sys.byteorder)
                    self._send(b"BARRIER=1", rights)
                finally:
                    os.close(theirs)
        except OSError:
            return
        try:
            poll = select.poll()
            poll.register(ours, 0)  # that the other end is closed is told without asking
            poll.poll(timeout * 1000)
        finally:
            os.close(ours)

    def _send(self, data: bytes, rights: bytes = b"") -> bool:
        if not self.listens:
            return True
        try:
            end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
            try:
                flags = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
                more = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
                end.sendmsg([data], more, flags, self._address)
            finally:
                end.close()
        except OSError as error:
            return error.errno not in _LATER
        except ValueError:  # not an address at all
            return True
        return True


def _watchdog(found: dict[str, str]) -> int | None:
    try:
        if found["WATCHDOG_PID"] and int(found["WATCHDOG_PID"]) != os.getpid():
            return None
        microseconds = int(found["WATCHDOG_USEC"])
    except ValueError:
        return None
    return microseconds * 1000 if microseconds > 0 else None
