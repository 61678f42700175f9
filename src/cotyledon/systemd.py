"""Telling the init system: the datagrams of ``sd_notify(3)``.

Responsible for the notification socket, and for keeping its name from the workers. Never fails: a
program that is not run by systemd has nobody to tell.
"""

import _socket
import os


class Notifier:
    """Speaks to the socket that ``NOTIFY_SOCKET`` names, and removes the variable."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]

    def tell(self, *lines: str) -> None:
        """Send one datagram, such as ``READY=1``."""
        if not self._address:
            return
        try:
            end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
            try:
                flags = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
                end.sendto("\n".join(lines).encode(), flags, self._address)
            finally:
                end.close()
        except OSError:
            pass
