"""When to look at the manager, and what is remembered of what was seen.

Responsible for the rhythm: nothing while nobody looks, at most one status per second while
somebody does, and one picture for all. Never speaks HTTP.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from cotyledon.contrib.http._live import Live
from cotyledon.contrib.http._proc import Meter, Used
from cotyledon.contrib.http._upstream import Upstream
from cotyledon.control import ControlError

SHORTEST = 1.0
"""Seconds between two looks at least."""
INTERVAL = 2.0
"""Seconds between two looks while nothing happens."""
LINGER = 12.0
"""Seconds that a page counts which was loaded without following the events."""
SAMPLES = 60


class Sample(NamedTuple):
    """One point of a curve; ``None``: not known."""

    cpu_share: float | None
    private: int | None


class Picture(NamedTuple):
    """What is known of the manager."""

    status: dict[str, Any] | None
    """``None``: nothing was ever heard of it."""
    used: dict[int, Used]
    trouble: str | None
    """Why it cannot be reached now; the status is an old one then."""
    at: float
    """When the status was taken, by the monotonic clock."""


class Watch:
    """Looks at the manager for everybody.

    Args:
        where: the control socket's path, or the manager's name.
        live: those who follow.
        render: makes the frame of the page that they are shown.
    """

    def __init__(
        self, where: str | os.PathLike[str], live: Live, render: Callable[[Picture], str]
    ) -> None:
        self._live = live
        self._render = render
        self._meter = Meter()
        self._upstream = Upstream(where, self._event, self._change, self._arrival)
        self._looked_until = 0.0
        self._someone = asyncio.Event()
        self._news = asyncio.Event()
        self._last = Picture(None, {}, self._upstream.trouble, time.monotonic())
        self.curves: dict[int, deque[Sample]] = {}
        """By pid: the last samples, the newest last."""

    # What the manager tells

    def _event(self, event: dict[str, Any]) -> None:
        self._live.tell(event)
        if event.get("kind") != "lost":
            self._news.set()

    def _change(self, _: str | None) -> None:
        self._news.set()

    def _arrival(self, pid: int, upcoming: int) -> None:
        self._live.begin_anew(pid, upcoming)
        self.curves.clear()

    # Looking

    async def look(self, max_age: float = SHORTEST) -> Picture:
        """Return what is known, after asking the manager if that is too old.

        Args:
            max_age: seconds that it may be old.
        """
        try:
            status = await self._upstream.status(max_age)
        except ControlError as error:
            self._last = self._last._replace(trouble=error.text)
            return self._last
        used = await self._meter.measure(pids_of(status))
        self._last = Picture(status, used, None, time.monotonic())
        return self._last

    def somebody_looks(self) -> None:
        """Look for a while, so that there are curves when the page is loaded again."""
        self._looked_until = time.monotonic() + LINGER
        self._someone.set()

    @property
    def _watched(self) -> bool:
        return self._live.watched or time.monotonic() < self._looked_until

    async def run(self) -> None:
        """Look while somebody does, for ever."""
        follow = asyncio.ensure_future(self._upstream.follow())
        try:
            while True:
                if not self._watched:
                    self._someone.clear()
                    self.curves.clear()  # a gap would be drawn as a line
                    await self._someone.wait()
                self._news.clear()
                # The last answer may be half a second old, so that a scrape does not hide this.
                picture = await self.look(SHORTEST / 2)
                self._sample(picture)
                self._live.show(self._render(picture))
                await asyncio.sleep(SHORTEST)
                try:
                    async with asyncio.timeout(INTERVAL - SHORTEST):
                        await self._news.wait()
                except TimeoutError:
                    pass
                if follow.done():
                    await follow
        finally:
            follow.cancel()

    def _sample(self, picture: Picture) -> None:
        if picture.trouble is not None:
            return
        for pid in [pid for pid in self.curves if pid not in picture.used]:
            del self.curves[pid]
        for pid, used in picture.used.items():
            private = used.memory.private if used.memory is not None else None
            curve = self.curves.setdefault(pid, deque(maxlen=SAMPLES))
            curve.append(Sample(used.cpu_share, private))

    def close(self) -> None:
        """Let go of the connections and the thread."""
        self._upstream.close()
        self._meter.close()


def pids_of(status: dict[str, Any]) -> list[int]:
    """Return the pids of the manager and of its workers."""
    found = [status["manager"].get("pid")]
    for service in status["services"]:
        for worker in service["workers"]:
            found += (worker.get("pid"), worker.get("second_pid"))
    return [pid for pid in found if isinstance(pid, int)]


def with_usage(picture: Picture) -> dict[str, Any]:
    """Return a status, with memory and CPU for the manager and each worker."""
    status = picture.status or {"manager": {}, "services": []}

    def more(process: dict[str, Any]) -> dict[str, Any]:
        used = picture.used.get(process.get("pid") or 0)
        memory = None if used is None or used.memory is None else used.memory._asdict()
        cpu = None if used is None else {"seconds": used.cpu_seconds, "share": used.cpu_share}
        return {**process, "memory": memory, "cpu": cpu}

    return {
        "manager": more(status["manager"]),
        "services": [
            {**service, "workers": [more(worker) for worker in service["workers"]]}
            for service in status["services"]
        ],
    }


def names_of(status: dict[str, Any]) -> dict[str, str]:
    """Return a name for each service by its id.

    Of several with one name all but the first get a number, so that no two are the same.
    """
    found: dict[str, str] = {}
    for service in status["services"]:
        name, number = str(service["name"]), 1
        shown = name
        while shown in found.values():
            number += 1
            shown = f"{name} {number}"
        found[service["id"]] = shown
    return found


def unready(status: dict[str, Any]) -> list[str]:
    """Return what is not ready, as texts."""
    found = []
    if status["manager"].get("state") != "running":
        found.append(f"the manager is {status['manager'].get('state')}")
    names = names_of(status)
    for service in status["services"]:
        name, ready, wanted = names[service["id"]], service["ready"], service["wanted"]
        # A worker that has ended in success is not missing.
        done = sum(worker["state"] == "done" for worker in service["workers"])
        if service.get("gave_up"):
            found.append(f"{name} has given up ({ready} of {wanted} workers ready)")
        elif ready + done < wanted:
            found.append(f"{name} ({ready} of {wanted} workers ready)")
    return found
