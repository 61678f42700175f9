"""What can be asked for.

Responsible for the paths and the form of the answers. Never changes anything, and never speaks to
the manager itself: that is the watch's.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from cotyledon.contrib.http._defence import Defence
from cotyledon.contrib.http._live import Follower, Live, frame
from cotyledon.contrib.http._metrics import exposition
from cotyledon.contrib.http._page import Page
from cotyledon.contrib.http._watch import Picture, Watch, unready, with_usage

STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
UNAVAILABLE = 503


class App:
    """The answers.

    Args:
        watch: looks at the manager.
        live: those who follow.
        page: makes HTML.
    """

    def __init__(self, watch: Watch, live: Live, page: Page) -> None:
        self._watch = watch
        self._live = live
        self._page = page

    async def root(self, _: Request) -> Response:
        """The status page."""
        self._watch.somebody_looks()
        return HTMLResponse(self._page.whole(await self._watch.look()))

    async def metrics(self, request: Request) -> Response:
        """The metrics, for Prometheus."""
        picture = await self._watch.look()
        accept = request.headers.get("accept", "")
        body, content_type = exposition(picture, self._live.count, accept)
        return Response(body, headers={"content-type": content_type})

    async def healthz(self, _: Request) -> Response:
        """Whether this server and the manager live."""
        picture = await self._watch.look()
        if picture.trouble is not None:
            return _cut_off(picture)
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """Whether every service is ready."""
        picture = await self._watch.look()
        if picture.trouble is not None or picture.status is None:
            return _cut_off(picture)
        missing = unready(picture.status)
        if missing:
            text = "".join(f"not ready: {one}\n" for one in missing)
            return PlainTextResponse(text, UNAVAILABLE)
        return PlainTextResponse("ok\n")

    async def status(self, _: Request) -> Response:
        """The status, as JSON."""
        picture = await self._watch.look()
        if picture.trouble is not None:
            return JSONResponse({"error": picture.trouble}, UNAVAILABLE)
        return JSONResponse(with_usage(picture))

    async def events(self, request: Request) -> Response:
        """The events, as JSON in server-sent events."""
        return self._follow(request, _as_json, page=False)

    async def live(self, request: Request) -> Response:
        """The same and the status, as the page shows them."""
        return self._follow(request, self._page.log, page=True)

    def _follow(
        self, request: Request, shown: Callable[[dict[str, Any]], str], *, page: bool
    ) -> Response:
        headers = {"content-type": "text/event-stream", "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers)
        last = request.headers.get("last-event-id", request.query_params.get("after", ""))
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 20 else None
        follower = Follower(shown, after, page=page)
        if not self._live.join(follower):
            text = "As many as may be follow the events already: come back later.\n"
            return PlainTextResponse(text, UNAVAILABLE, {"retry-after": "10"})
        if page:
            self._watch.somebody_looks()

        async def frames() -> AsyncIterator[str]:
            try:
                async for one in follower.frames():
                    yield one
            finally:
                self._live.leave(follower)

        return StreamingResponse(frames(), headers=headers)


def _as_json(event: dict[str, Any]) -> str:
    return frame(JSONResponse(event).body.decode(), number=event.get("seq"))  # type: ignore[union-attr]


def _cut_off(picture: Picture) -> Response:
    return PlainTextResponse(f"cut off from the manager: {picture.trouble}\n", UNAVAILABLE)


def _static(name: str, content_type: str) -> Route:
    body = (files("cotyledon.contrib.http") / "static" / name).read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": "no-cache", "content-type": content_type}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)

    return Route(f"/static/{name}", serve)


def build(watch: Watch, live: Live, page: Page, names: Iterable[str]) -> ASGIApp:
    """Return the application.

    Args:
        watch: looks at the manager.
        live: those who follow.
        page: makes HTML.
        names: that the server goes by.
    """
    app = App(watch, live, page)
    routes = [
        Route("/", app.root),
        Route("/metrics", app.metrics),
        Route("/healthz", app.healthz),
        Route("/readyz", app.readyz),
        Route("/api/status", app.status),
        Route("/api/events", app.events),
        Route("/live", app.live),
        *(_static(name, content_type) for name, content_type in STATIC.items()),
    ]
    return Defence(Starlette(routes=routes), names)
