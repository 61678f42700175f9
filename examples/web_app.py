"""The web application of the inbox, and where it keeps things.

Responsible for requests and for the database. Never knows of processes: any number of workers may
use one database, and any of them may be killed at any instant.
"""

import sqlite3
import threading
import time
from contextlib import closing
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MOST_BYTES = 1 << 20
"""The largest message that is taken."""
MOST_ITEMS = 1000
WAIT = 10
"""Seconds that a worker waits for another one that is writing."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    key TEXT,
    body BLOB NOT NULL,
    UNIQUE (source, key)
) STRICT;
CREATE INDEX IF NOT EXISTS by_source ON messages (source, id);
"""


class Message(NamedTuple):
    """One that was taken."""

    id: int
    body: bytes


class Ids:
    """Ids that no other worker makes: 41 bits of milliseconds, 10 of the maker, 12 of a count.

    A worker and the successor that replaces it have the same number for a moment; they share a
    database, which refuses an id that is there.
    """

    EPOCH = 1_700_000_000_000

    def __init__(self, maker: int) -> None:
        self._maker = maker
        self._last = 0

    def next(self) -> int:
        """Return one; it is larger than all that this object has returned."""
        now = time.time_ns() // 1_000_000 - self.EPOCH
        first = now << 22 | self._maker << 12
        after = self._last + 1
        if self._last >> 22 >= now:  # the same millisecond, or a clock that was set back
            first = after if after & 0xFFF else ((self._last >> 22) + 1) << 22 | self._maker << 12
        self._last = first
        return first


class Store:
    """The messages, in SQLite.

    Args:
        path: of the database; made if it is not there.
        maker: the number of this worker among all.
    """

    def __init__(self, path: str, maker: int) -> None:
        self._ids = Ids(maker)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=WAIT, isolation_level=None,
                                   check_same_thread=False)  # fmt: skip
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # what was answered outlives a power cut
        self._db.executescript(SCHEMA)

    def put(self, source: str, key: str | None, body: bytes) -> tuple[int, bool]:
        """Keep a message; return its id, and whether it is new."""
        with self._lock:
            while True:
                taken = self._ids.next()
                done = self._db.execute(
                    "INSERT INTO messages VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (taken, source, key, body),
                )
                if done.rowcount:
                    return taken, True
                found = self._db.execute(
                    "SELECT id FROM messages WHERE source = ? AND key = ?", (source, key)
                ).fetchone()
                if found is not None:
                    return int(found[0]), False

    def oldest(self, source: str, limit: int) -> list[Message]:
        """Return the messages that have been there for longest.

        Ids follow the clock, not the order in which workers have committed: a reader that
        continues after the last id would miss some. So it drops what it is done with.
        """
        with self._lock, closing(self._db.cursor()) as cursor:
            cursor.execute(
                "SELECT id, body FROM messages WHERE source = ? ORDER BY id LIMIT ?",
                (source, limit),
            )
            return [Message(*row) for row in cursor]

    def drop(self, source: str, taken: int) -> bool:
        """Forget a message; return whether it was there."""
        with self._lock:
            done = self._db.execute(
                "DELETE FROM messages WHERE source = ? AND id = ?", (source, taken)
            )
            return bool(done.rowcount)


def application(database: str, maker: int) -> Starlette:
    """Return the application of one worker.

    Args:
        database: where messages are kept.
        maker: the number of this worker among all that make ids.
    """
    store = Store(database, maker)

    async def put(request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        body = await _body(request)
        taken, is_new = await run_in_threadpool(
            store.put, request.path_params["source"], key, body
        )
        return JSONResponse({"id": str(taken)}, 201 if is_new else 200)

    async def listing(request: Request) -> Response:
        limit = min(_number(request, "limit", 100), MOST_ITEMS)
        found = await run_in_threadpool(store.oldest, request.path_params["source"], limit)
        return JSONResponse(
            [{"id": str(one.id), "body": one.body.decode(errors="replace")} for one in found]
        )

    async def drop(request: Request) -> Response:
        source, taken = request.path_params["source"], request.path_params["taken"]
        there = await run_in_threadpool(store.drop, source, taken)
        return Response(status_code=204 if there else 404)

    async def health(request: Request) -> Response:
        await run_in_threadpool(store.oldest, "", 1)
        return Response("healthy\n")

    async def busy(request: Request, error: Exception) -> Response:
        # Locked for too long, or the disk is full: nothing was kept, so the client may try again.
        return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1"})

    return Starlette(
        routes=[
            Route("/inbox/{source}", put, methods=["POST"]),
            Route("/inbox/{source}", listing, methods=["GET"]),
            Route("/inbox/{source}/{taken:int}", drop, methods=["DELETE"]),
            Route("/healthz", health),
        ],
        exception_handlers={sqlite3.OperationalError: busy},
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"a message may have {MOST_BYTES} bytes")
    return bytes(body)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or int(text) >= 1 << 63:
        raise HTTPException(400, f"{name!r} must be a number, not: {text!r}")
    return int(text)
