"""uvicorn's server, with an end that loses no request.

Responsible for when the worker is ready and for the drain. Never touches signals: they are the
worker's.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
LOOK = 0.1
"""Seconds between two looks at the connections that are left."""
TICKS = 20
"""Tenths of a second between two reports of figures: each wakes the manager."""

NOT_STARTED = 3
"""The exit status that uvicorn has for an application that does not start."""


class Server(uvicorn.Server):
    """A server that tells when it accepts, can be drained, and leaves the signals alone.

    Args:
        options: of :class:`uvicorn.Config`.
        listener: the socket that clients connect to.
        ready: called when the application has started and connections are accepted.
        count: called with figures now and then, when they have changed.

    Raises:
        TypeError: an option is unknown.
        ValueError: an option is wrong.
    """

    def __init__(
        self,
        options: dict[str, Any],
        listener: socket.socket,
        ready: Callable[[], None],
        count: Callable[[Mapping[str, float]], None],
    ) -> None:
        super().__init__(uvicorn.Config(**options))
        self._listener = listener
        self._draining = False
        self._ready = ready
        self._count = count
        self._counted = -1, -1
        self._up = asyncio.Event()
        if listener.family in (socket.AF_INET, socket.AF_INET6):
            # Accepted connections inherit it. asyncio sets it only for sockets whose protocol
            # number is given, and create_server() gives none: without it the second of two small
            # writes waits for the client's delayed acknowledgement, for 40 ms.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def serve_until_told(self) -> None:
        """Serve until :meth:`drain`.

        Raises:
            SystemExit: the application has not started.
        """
        config = self.config
        try:
            config.load()
            config.loaded_app = self._closing(config.loaded_app)
            await self.serve(sockets=[self._listener])
        finally:
            self._up.set()
        if not self._draining:  # older releases of uvicorn return when the lifespan has failed
            sys.exit(NOT_STARTED)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, accept connections, and tell so."""
        await super().startup(sockets)
        self._up.set()
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Tell figures, besides what uvicorn does ten times per second."""
        state = self.server_state
        figures = state.total_requests, len(state.connections)
        if counter % TICKS == 0 and figures != self._counted:
            self._counted = figures
            self._count({"requests": figures[0], "connections": figures[1]})
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to the worker."""
        yield

    async def drain(self) -> None:
        """Stop accepting, have clients leave, and then have :meth:`serve_until_told` return.

        uvicorn's own shutdown closes idle connections at once. A request that is on its way then
        meets a closed connection, and its client cannot tell whether it was carried out.
        """
        self._draining = True
        await self._up.wait()  # an application that is starting cannot be stopped
        if self.started:
            loop = asyncio.get_running_loop()
            end = loop.time() + self.config.timeout_keep_alive
            # asyncio drops, with a reset, what it has accepted in the turn in which its server is
            # closed. So first it has to look away, and to finish with those.
            loop.remove_reader(self._listener)
            await asyncio.sleep(LOOK)
            for server in self.servers:
                server.close()  # this process's copy of the socket, no one else's
            while self.server_state.connections and loop.time() < end:
                await asyncio.sleep(LOOK)
        self.should_exit = True

    def _closing(self, app: Any) -> Any:
        """Wrap an application so that while draining each answer ends its connection."""

        async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
            async def send_and_close(message: Message) -> None:
                if self._draining and message["type"] == "http.response.start":
                    headers = [
                        (name, value)
                        for name, value in message.get("headers", ())
                        if name.lower() != b"connection"
                    ]
                    message = {**message, "headers": [*headers, (b"connection", b"close")]}
                await send(message)

            # HTTP/2 knows no such header.
            plain = scope["type"] == "http" and scope["http_version"].startswith("1")
            await app(scope, receive, send_and_close if plain else send)

        return wrapped
