"""The service that a program adds.

Responsible for the arguments and for the order of a worker's life: the application is up, the
worker is ready, it is told to end, requests are finished. Never opens a socket: the program does,
before it forks.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from cotyledon import AsyncService, Policy, Rollout, Start

LOG = logging.getLogger("cotyledon.uvicorn")
EX_CONFIG = 78
"""The exit status that the default policy does not answer with another start."""
_ELSEWHERE = {
    "host": "bind the socket that is given as 'listener'",
    "port": "bind the socket that is given as 'listener'",
    "uds": "bind the socket that is given as 'listener'",
    "fd": "give a socket as 'listener', such as socket.socket(fileno=3)",
    "workers": "give it to the manager's add()",
    "reload": "send SIGHUP to the manager",
    "loop": "set the class's 'loop_factory'",
    "limit_max_requests": "use Policy(recycle=...), which loses no request",
    "limit_max_requests_jitter": "use Policy(recycle=...), which loses no request",
    "timeout_worker_healthcheck": "use Policy(watchdog=...)",
}
"""Options of uvicorn that are not uvicorn's here."""


class UvicornService(AsyncService):
    """Serves an ASGI application; add it with as many workers as there are CPUs.

    The listening socket is opened by the program and passed to all workers. It is never closed
    while workers are replaced, so no connection is refused or reset. A worker that is to end
    stops accepting, answers what it is asked on the connections that it has with
    ``Connection: close``, and closes idle ones when they have been idle for
    ``timeout_keep_alive``, as it always does. At most that long after the order (and a moment)
    it closes all idle connections, waits for the requests that are being answered, and ends the
    application's lifespan. The graceful timeout bounds all of it.

    A worker is ready when the application's lifespan has started and it accepts. On SIGHUP, a
    worker is replaced by a successor that is ready before it is told to end.

    Args:
        worker_id: given by the manager.
        app: the application, or where it is: ``"module:name"``. A name is imported in the
            worker, so that workers that are started later run the code of that time.
        listener: a listening stream socket, as ``socket.create_server()`` returns.
        **options: of :class:`uvicorn.Config`, such as ``timeout_keep_alive`` (seconds, default
            5), ``http``, ``lifespan``, ``factory`` or ``ssl_certfile``. ``log_config`` is
            ``None`` by default here: uvicorn's loggers are the program's to configure.
    """

    policy = Policy(start=Start(ready="told"), rollout=Rollout(max_unavailable=0, max_surge="25%"))

    def __init__(
        self,
        worker_id: int,
        app: Callable[..., Any] | str,
        listener: socket.socket,
        **options: Any,
    ) -> None:
        super().__init__(worker_id)
        _check(app, listener, options)
        import asyncio

        from cotyledon.contrib.uvicorn._server import Server

        try:
            self._server = Server(
                {"log_config": None, **options, "app": app}, listener, self.ready, self._count
            )
        except (TypeError, ValueError) as error:
            _refuse(str(error))
        self._where = f"listens on {_shown(listener)}"
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Serve until it is told to stop.

        Raises:
            SystemExit: the application has not started; uvicorn has logged why.
        """
        try:
            await self._server.serve_until_told()
        finally:
            self._ended.set()

    async def terminate(self) -> None:
        """Stop accepting, and finish what is being answered."""
        await self._server.drain()
        await self._ended.wait()

    def _count(self, figures: Mapping[str, float]) -> None:
        self.status(self._where, figures)


def _shown(listener: socket.socket) -> str:
    found = listener.getsockname()
    if not isinstance(found, tuple):
        return os.fsdecode(found).replace("\0", "@")
    return f"[{found[0]}]:{found[1]}" if ":" in found[0] else f"{found[0]}:{found[1]}"


def _check(app: object, listener: object, options: dict[str, Any]) -> None:
    if not callable(app) and not isinstance(app, str):
        _refuse(f"'app' must be an ASGI application or 'module:name', not: {app!r}")
    if not isinstance(listener, socket.socket):
        _refuse(f"'listener' must be a socket, not: {listener!r}")
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        _refuse("'listener' does not listen; make it by socket.create_server()")
    for name in options:
        if name in _ELSEWHERE:
            _refuse(f"{name!r} is not for uvicorn here: {_ELSEWHERE[name]}")


def _refuse(text: str) -> NoReturn:
    LOG.error("UvicornService: %s", text)
    sys.exit(EX_CONFIG)
