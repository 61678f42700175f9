"""The service that a program adds.

Responsible for the arguments, the listening socket and the life of the server. Never imports the
web framework before it is built in its worker: the master, which has imported this, stays small.
"""

import errno
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from cotyledon import AsyncService

LOG = logging.getLogger("cotyledon.http")
BACKLOG = 128
EX_CONFIG = 78
"""The exit status that the default policy does not answer with another start."""
_WRONG = {errno.EACCES, errno.EADDRNOTAVAIL, errno.EPERM}


class HttpService(AsyncService):
    """Serves metrics, health and a status page of the manager; add it with one worker.

    It is read-only: there is no request that changes anything. It answers ``/metrics``,
    ``/healthz``, ``/readyz``, ``/api/status``, ``/api/events`` and ``/``.

    Args:
        worker_id: given by the manager.
        control: the control socket of the manager: a path (with a slash in it), or the manager's
            name.
        host: the address to listen on (default: loopback, for this machine only).
        port: the port to listen on, 0 for any that is free (default 8006).
        allowed_hosts: names that browsers may call this server by, besides ``localhost`` and plain
            IP addresses, which are always right. ``"*"`` allows every name (default: none on
            loopback, or else the machine's own name).
        max_browsers: how many may follow the events at a time (default 64).
    """

    def __init__(
        self,
        worker_id: int,
        *,
        control: str | os.PathLike[str],
        host: str = "127.0.0.1",
        port: int = 8006,
        allowed_hosts: Sequence[str] | None = None,
        max_browsers: int = 64,
    ) -> None:
        super().__init__(worker_id)
        _check(control, host, port, allowed_hosts, max_browsers)
        self._socket = _listen(host, port)
        if allowed_hosts is None:
            allowed_hosts = () if _is_loopback(host) else (socket.gethostname(),)
        from cotyledon.contrib.http._server import Site

        self._site = Site(control, self._socket, allowed_hosts, max_browsers)
        address, number = self._socket.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        self.url = f"http://{shown}:{number}/"
        """Where it listens."""

    async def run(self) -> None:
        """Serve until it is told to stop."""
        LOG.info("listening on %s", self.url)
        self.ready()
        self.status(self.url)
        await self._site.serve()

    async def terminate(self) -> None:
        """End the streams, let the last answers out, and close."""
        await self._site.stop()


def _check(
    control: object, host: object, port: object, allowed_hosts: object, max_browsers: object
) -> None:
    if not isinstance(control, str | os.PathLike) or not os.fspath(control):
        _refuse(f"'control' must be a path or a manager's name, not: {control!r}")
    if not isinstance(host, str) or not host:
        _refuse(f"'host' must be an address or a name, not: {host!r}")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        _refuse(f"'port' must be a number from 0 to 65535, not: {port!r}")
    if isinstance(allowed_hosts, str) or not all(
        isinstance(one, str) for one in _items(allowed_hosts)
    ):
        _refuse(f"'allowed_hosts' must be a list of names, not: {allowed_hosts!r}")
    if not isinstance(max_browsers, int) or isinstance(max_browsers, bool) or max_browsers < 1:
        _refuse(f"'max_browsers' must be at least 1, not: {max_browsers!r}")


def _items(found: object) -> Sequence[object]:
    if found is None:
        return ()
    return tuple(found) if isinstance(found, Sequence | set | frozenset) else (None,)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        _refuse(f"cannot listen on {host!r}: {error}; give an address of this machine as host=")
    try:
        # The connections of the last worker may linger; another listener is an error still.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        text = (
            f"cannot listen on {host} port {port}: {error.strerror}; give another host= or port="
        )
        if error.errno in _WRONG:
            _refuse(text)
        LOG.error("HttpService: %s", text)  # the next start may find it free
        sys.exit(1)
    return listener


def _refuse(text: str) -> NoReturn:
    LOG.error("HttpService: %s", text)
    sys.exit(EX_CONFIG)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
