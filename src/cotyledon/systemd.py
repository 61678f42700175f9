"""Telling the init system: the datagrams of ``sd_notify(3)``.

Responsible for the notification socket, and for keeping its name from the workers. Never fails: a
program that is not run by systemd has nobody to tell.
"""

import os
import socket


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
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto(
                    "\n".join(lines).encode(),
                    socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,
                    self._address,
                )
        except OSError:
            pass
