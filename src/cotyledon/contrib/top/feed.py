"""The connections to the manager, in two threads.

Responsible for asking as seldom as may be: the status after events, once a second at most, and
every few seconds without; and for trying again while nobody is there. Never touches the screen:
what it hears goes to a callback, from its own threads. Never asks for a change.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cotyledon import control
from cotyledon.contrib.top.procfs import Meter, Usage

SOONEST = 1.0
"""Seconds from one request for the status to the next, whatever happens."""
LATEST = 3.0
"""The same while nothing happens."""
SAMPLE = 1.0
"""Seconds from one reading of ``/proc`` to the next."""
RETRY = 0.5
PAST = 256
"""How many past events come first: all that a manager keeps, as status lines are among them."""


class Picture(NamedTuple):
    """What is known at one instant."""

    status: dict[str, Any]
    usages: dict[int, Usage]
    at: float
    """The monotonic clock when the status was told."""


class Heard(NamedTuple):
    """Something has happened."""

    event: dict[str, Any]


class Attached(NamedTuple):
    """A manager is there, and it is this one."""

    greeting: control.Greeting


class Lost(NamedTuple):
    """The manager has gone, or does not answer."""

    text: str


class Feed:
    """Follows a manager until it is closed.

    Args:
        path: the control socket.
        tell: called with each of the tuples above, from other threads.
    """

    def __init__(self, path: str, tell: Callable[[Any], object]) -> None:
        self._path = path
        self._tell = tell
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._seen = 0
        self._pid: int | None = None
        self._threads = [
            threading.Thread(target=self._watch, name="watch", daemon=True),
            threading.Thread(target=self._follow, name="follow", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let go of the manager; the threads end soon."""
        self._closed.set()
        self._changed.set()

    def join(self, timeout: float) -> None:
        """Wait for the threads."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)

    def hurry(self) -> None:
        """Have the status asked for as soon as may be."""
        self._changed.set()

    # The status, and /proc

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                with control.Client(self._path) as client:
                    self._tell(Attached(client.greeting))
                    self._poll(client)
            except control.ControlError as error:
                self._tell(Lost(error.text))
            self._closed.wait(RETRY)

    def _poll(self, client: control.Client) -> None:
        meter = Meter(client.greeting.pid)
        asked = -LATEST
        status: dict[str, Any] = {}
        at = 0.0
        while not self._closed.is_set():
            begun = time.monotonic()
            due = SOONEST if self._changed.is_set() else LATEST
            if begun - asked >= due:
                self._changed.clear()
                asked = begun
                status = client.status()
                at = time.monotonic()
            meter.sample(_pids(status))
            self._tell(Picture(status, dict(meter.usages), at))
            # Reading /proc for very many workers never takes more than a tenth of a CPU.
            took = time.monotonic() - begun
            self._rest(max(SAMPLE, 10 * took), asked)

    def _rest(self, seconds: float, asked: float) -> None:
        """Wait for the next sample, or for an event if the status may be asked for then."""
        end = time.monotonic() + seconds
        self._closed.wait(max(0.0, min(end, asked + SOONEST) - time.monotonic()))
        if not self._closed.is_set():
            self._changed.wait(max(0.0, end - time.monotonic()))

    # The events

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                with control.Client(self._path, timeout=1.0) as client:
                    if client.greeting.pid != self._pid:
                        self._pid, self._seen = client.greeting.pid, 0
                    for event in self._stream(client):
                        self._hear(event)
            except control.ControlError:
                pass  # the other thread tells of it
            self._closed.wait(RETRY)

    def _stream(self, client: control.Client) -> Any:
        """Yield events; come back now and then to see whether this has been closed."""
        events = client.events(PAST)
        client.close()
        try:
            while not self._closed.is_set():
                try:
                    event = events.next(time.monotonic() + 1)
                except control.ControlError as error:
                    if error.kind != "timeout":
                        raise
                    continue
                if event is None:
                    return
                yield event
        finally:
            events.close()

    def _hear(self, event: dict[str, Any]) -> None:
        number = event.get("seq")
        if isinstance(number, int):
            if number <= self._seen:
                return  # told before the connection broke
            self._seen = number
        self._tell(Heard(event))
        # A status line is in the event itself; and it may change many times a second.
        if event.get("kind") != "worker-status":
            self._changed.set()


def _pids(status: dict[str, Any]) -> list[int]:
    return [
        pid
        for service in status.get("services", ())
        for worker in service.get("workers", ())
        for pid in (worker.get("pid"), worker.get("second_pid"))
        if isinstance(pid, int)
    ]
