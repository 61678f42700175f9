#!/usr/bin/env python3
"""An inbox for webhooks: take them fast, keep them safe, hand them out later.

    web.py                            serve until SIGTERM or Ctrl-C; settings are below
    curl -d 'order 7' localhost:8000/inbox/shop          -> 201 {"id": "..."}
    curl localhost:8000/inbox/shop                       -> the oldest messages
    curl -X DELETE localhost:8000/inbox/shop/ID          -> done with it

An asyncio web service as users of cotyledon write it: N workers, each an event loop with uvicorn
and Starlette, share one listening socket and one SQLite database. What was answered with 201 is
on the disk, whoever is killed then; a client that got no answer asks again with the same
``Idempotency-Key`` and nothing is kept twice. SIGHUP replaces the workers without losing a
request.

Settings are environment variables, for systemd and Kubernetes:

    INBOX_LISTEN     address and port (default: 127.0.0.1:8000); not used with a socket of systemd
    INBOX_DATABASE   the database (default: inbox.sqlite3)
    INBOX_WORKERS    how many workers (default: 4)
    INBOX_ORDINAL    which of several such managers this is (default: 0)

Ids are unique among all workers of all managers, without any of them asking another: each holds
the number of its maker, ``INBOX_ORDINAL * INBOX_WORKERS + worker_id``.

Responsible for the settings, the socket and the service. Never opens the database, and never
imports the web framework, in the master.
"""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cotyledon
from cotyledon.contrib.uvicorn import UvicornService

GRACEFUL = 30
"""Seconds that a stop may take: more than KEEP_ALIVE, and than the slowest answer."""
KEEP_ALIVE = 5
"""Seconds after which idle connections are closed."""
MAKERS = 1024
"""So many workers, of all managers together, can make ids."""


class Settings(NamedTuple):
    """What the environment says."""

    host: str
    port: int
    database: str
    workers: int
    ordinal: int


def settings() -> Settings:
    """Read the environment.

    Raises:
        ValueError: a variable is wrong.
    """
    listen = os.environ.get("INBOX_LISTEN", "127.0.0.1:8000")
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"INBOX_LISTEN must be ADDRESS:PORT, not: {listen!r}")
    workers = _number("INBOX_WORKERS", 4, least=1)
    ordinal = _number("INBOX_ORDINAL", 0, least=0)
    if (ordinal + 1) * workers > MAKERS:
        raise ValueError(
            f"(INBOX_ORDINAL + 1) * INBOX_WORKERS must be at most {MAKERS}, "
            f"not ({ordinal} + 1) * {workers}"
        )
    database = os.path.abspath(os.environ.get("INBOX_DATABASE", "inbox.sqlite3"))
    return Settings(host.strip("[]"), int(port), database, workers, ordinal)


def _number(name: str, default: int, least: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{name} must be a number from {least} on, not: {text!r}")
    return int(text)


class Inbox(UvicornService):
    """One worker."""

    name = "inbox"

    def __init__(self, worker_id: int, chosen: Settings, listener: socket.socket) -> None:
        from examples.web_app import application

        maker = chosen.ordinal * chosen.workers + worker_id
        app = application(chosen.database, maker)
        super().__init__(worker_id, app, listener, timeout_keep_alive=KEEP_ALIVE, access_log=False)


def listen(chosen: Settings) -> socket.socket:
    """Return the socket that is open for as long as the master lives, or that systemd holds.

    Connections wait in it while workers come and go.

    Raises:
        OSError: the address cannot be listened on.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=3)  # the first one that systemd passes on
    family = socket.AF_INET6 if ":" in chosen.host else socket.AF_INET
    return socket.create_server((chosen.host, chosen.port), family=family, backlog=1024)


def manager() -> cotyledon.ServiceManager:
    """Return the manager; also what ``cotyledon run examples.web:manager`` runs.

    Raises:
        ValueError: the settings are wrong.
        OSError: the address cannot be listened on.
    """
    chosen = settings()
    listener = listen(chosen)
    made = cotyledon.ServiceManager(
        graceful_shutdown_timeout=GRACEFUL,
        name="inbox",
        control=os.environ.get("COTYLEDON_CONTROL"),
    )
    made.add(Inbox, workers=chosen.workers, args=(chosen, listener))
    logging.getLogger("inbox").info("listening on %s port %d", *listener.getsockname()[:2])
    return made


def main() -> int:
    """Run the program and return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        made = manager()
    except (ValueError, OSError) as error:
        print(f"web: {error}", file=sys.stderr)
        return 2
    made.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
