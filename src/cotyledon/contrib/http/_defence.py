"""What every request has to pass, and what every answer carries.

Responsible for the methods, for the names that this server goes by (a page elsewhere could have
its own name point at this address, and read what is here: DNS rebinding), and for the headers that
keep browsers strict. Never looks at what is asked for.
"""

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
METHODS = ("GET", "HEAD")


class Defence:
    """Passes on what may be passed on.

    Args:
        app: what is behind it.
        names: that the server goes by, besides addresses and ``localhost``; ``*``: any.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {name.lower().rstrip(".") for name in names} | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] != "http":
            return

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        app = self._app
        host = Headers(scope=scope).get("host", "")
        if not self._is_ours(host):
            app = PlainTextResponse(
                f"This server does not go by the name {host!r}: add it to allowed_hosts.\n", 421
            )
        elif scope["method"] not in METHODS:
            app = PlainTextResponse(
                "Nothing can be changed here: GET and HEAD only.\n",
                405,
                {"allow": ", ".join(METHODS)},
            )
        await app(scope, receive, strict)

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        try:
            # A page whose address is a number was loaded from that number: nothing is rebound.
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return "*" in self._names or name in self._names


def host_name(host: str) -> str | None:
    """Return the name in a Host header, without the port; ``None``: there is none."""
    if host.startswith("["):
        name, closed, port = host[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    if not name or (port and not (port.isascii() and port.isdigit())):
        return None
    return name.lower().rstrip(".")
