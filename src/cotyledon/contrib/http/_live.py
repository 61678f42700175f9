"""Those who follow the events through this server.

Responsible for how many there are, for what waits for each of them, and for the form of
server-sent events. Never waits for any of them.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

KEPT = 256
"""Events that are kept for those who come back, and that may wait for a slow one."""
KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent."""
RETRY = 2000
"""Milliseconds after which a browser shall come back."""


def frame(data: str, *, event: str | None = None, number: int | None = None) -> str:
    """Return one server-sent event."""
    head = f"event: {event}\n" if event else ""
    if number is not None:
        head += f"id: {number}\n"
    body = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"{head}{body}\n"


class Follower:
    """One of them.

    Args:
        shown: makes the frame of an event.
        after: the number of the last event that it has seen; ``None``: it wants new ones only.
        page: whether it wants the page too, and not the events alone.
    """

    def __init__(
        self, shown: Callable[[dict[str, Any]], str], after: int | None, *, page: bool
    ) -> None:
        self.page = page
        self.after = after
        self._shown = shown
        self._events: deque[dict[str, Any]] = deque()
        self._latest: str | None = None
        self._hello: str | None = None
        self._lost = 0
        self._wake = asyncio.Event()
        self._ended = False

    def greet(self, hello: str) -> None:
        """Begin: what waited is of no interest any more."""
        self._events.clear()
        self._hello = hello
        self._wake.set()

    def tell(self, event: dict[str, Any]) -> None:
        """Have it told of an event that it has not seen; the oldest that waits makes room."""
        if self.after is None or event["seq"] <= self.after:
            return
        if len(self._events) >= KEPT:
            self._events.popleft()
            self._lost += 1
        self._events.append(event)
        self._wake.set()

    def show(self, latest: str) -> None:
        """Have it shown the page; one that it was not yet shown is replaced."""
        self._latest = latest
        self._wake.set()

    def end(self) -> None:
        """End the stream."""
        self._ended = True
        self._wake.set()

    async def frames(self) -> AsyncIterator[str]:
        """Yield what it is to be sent, until the end."""
        yield f"retry: {RETRY}\n\n"
        while not self._ended:
            self._wake.clear()
            if self._hello is not None:
                hello, self._hello = self._hello, None
                yield frame(hello, event="hello")
            while self._events and not self._ended:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    yield self._shown({"kind": "lost", "count": lost})
                yield self._shown(self._events.popleft())
            if self._latest is not None:
                latest, self._latest = self._latest, None
                yield latest
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await self._wake.wait()
            except TimeoutError:
                yield ": keep-alive\n\n"


class Live:
    """All of them, and the last events.

    Args:
        most: how many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._followers: set[Follower] = set()
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._manager: int | None = None
        self._closed = False

    @property
    def manager(self) -> int | None:
        """The pid of the manager; ``None``: it was not reached yet."""
        return self._manager

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._followers)

    @property
    def watched(self) -> bool:
        """Whether anybody has the page open."""
        return any(one.page for one in self._followers)

    def join(self, follower: Follower) -> bool:
        """Let one in, if there is room."""
        if self._closed or len(self._followers) >= self._most:
            return False
        follower.greet(self._hello())
        if self._manager is not None:
            self._reconcile(follower, self.events[-1]["seq"] if self.events else 0)
        for event in self.events:
            follower.tell(event)
        self._followers.add(follower)
        return True

    @staticmethod
    def _reconcile(follower: Follower, newest: int) -> None:
        if follower.after is None:
            follower.after = newest
        elif follower.after > newest:
            follower.after = 0  # it has seen those of an earlier manager

    def leave(self, follower: Follower) -> None:
        """Forget one."""
        self._followers.discard(follower)

    def _hello(self) -> str:
        return json.dumps({"manager": self._manager})

    def tell(self, event: dict[str, Any]) -> None:
        """Tell everybody of an event."""
        self.events.append(event)
        for follower in self._followers:
            follower.tell(event)

    def show(self, latest: str) -> None:
        """Show the page to those who have it open."""
        for follower in self._followers:
            if follower.page:
                follower.show(latest)

    def begin_anew(self, manager: int, upcoming: int) -> None:
        """Forget the events: there is another manager, or the first one.

        Args:
            manager: its pid.
            upcoming: the number of its next event.
        """
        another, self._manager = self._manager is not None, manager
        self.events.clear()
        for follower in self._followers:
            follower.greet(self._hello())
            if another:
                follower.after = 0
            self._reconcile(follower, upcoming - 1)

    def close(self) -> None:
        """End all streams; nobody else may come."""
        self._closed = True
        for follower in self._followers:
            follower.end()
