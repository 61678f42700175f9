"""The server, put together and taken apart.

Responsible for the life of its parts within the worker's event loop. Never touches signals: they
are the worker's.
"""

import asyncio
import os
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cotyledon.contrib.http._app import build
from cotyledon.contrib.http._live import Live
from cotyledon.contrib.http._page import Page
from cotyledon.contrib.http._watch import Picture, Watch

MOST_CONNECTIONS = 256
LAST_ANSWERS = 3
"""Seconds that answers may take when the server is to end."""


PATIENCE = 10
"""Seconds in which a request has to come."""


class _Protocol(H11Protocol):
    """A connection that does not keep its place, of which there are few, without a request.

    uvicorn waits for ever for the rest of a request that has begun.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(PATIENCE, self._look, None)

    def _look(self, before: Any) -> None:
        """Close it if nothing was asked since, and nothing is being answered."""
        if self.transport.is_closing():
            return
        answered = before is None or before.response_complete
        if answered and self.cycle is before:
            self.transport.close()
        else:
            self.loop.call_later(PATIENCE, self._look, self.cycle)


class _Server(uvicorn.Server):
    """A server that leaves the signals alone."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Site:
    """The server of one worker.

    Args:
        control: the control socket's path, or the manager's name.
        listener: the socket that browsers connect to.
        names: that the server goes by.
        max_browsers: how many may follow the events.
    """

    def __init__(
        self,
        control: str | os.PathLike[str],
        listener: socket.socket,
        names: Sequence[str],
        max_browsers: int,
    ) -> None:
        self._listener = listener
        self._live = Live(max_browsers)
        self._watch = Watch(control, self._live, self._render)
        self._page = Page(self._watch, self._live)
        config = uvicorn.Config(
            build(self._watch, self._live, self._page, names),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=max(MOST_CONNECTIONS, 2 * max_browsers),
            timeout_graceful_shutdown=LAST_ANSWERS,
        )
        self._server = _Server(config)
        self._ended = asyncio.Event()

    def _render(self, picture: Picture) -> str:
        return self._page.part(picture)

    async def serve(self) -> None:
        """Serve until :meth:`stop`."""
        watching = asyncio.create_task(self._watch.run(), name="watch")
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="serve")
        try:
            done, _ = await asyncio.wait({watching, serving}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            watching.cancel()
            self._watch.close()
            self._ended.set()

    async def stop(self) -> None:
        """End the streams, let the last answers out, and close."""
        self._live.close()
        self._server.should_exit = True
        await self._ended.wait()
