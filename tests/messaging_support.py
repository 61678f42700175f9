"""What the tests of oslo.messaging share: a topic of the test's own, its servers and clients."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from amqp.exceptions import NotFound
from kombu.connection import Connection

from cotyledon import control
from tests.harness import Event, Program, until


class Topic(NamedTuple):
    """One topic at one broker, and how to start programs that use it.

    ``url`` is where it is and what options the servers have; ``start`` is the fixture.
    """

    name: str
    url: str
    start: Callable[..., Program]

    def program(self, scenario: str, *args: str, server: str = "") -> Program:
        """Start a program of ``messages.py``."""
        more = {"SERVER": server} if server else {}
        return self.start("messages.py", scenario, *args, env={"TOPIC": self.name, **more})

    def serve(self, kind: str, workers: int = 2, *, grace: float = 20, **options: Any) -> Program:
        """Start so many workers for ``calls`` or ``notes``."""
        settings = {"control": "./control", "graceful_shutdown_timeout": grace}
        options = {"url": self.url, **options}
        wanted = {"workers": workers, kind: options, "manager": settings}
        program = self.program("serve", json.dumps(wanted))
        program.wait_for("WorkerStarted")  # there is a control socket
        return program

    def served(self, kind: str, workers: int = 2, **options: Any) -> Program:
        """Start so many workers, and wait until they are ready."""
        program = self.serve(kind, workers, **options)
        program.wait_for("AllReady")
        return program

    def call(self, method: str, *, timeout: int = 20, server: str = "", **arguments: Any) -> Event:
        """Call, and return the event of how that ended."""
        caller = self.program(
            "call", self.url, method, json.dumps(arguments), str(timeout), server=server
        )
        caller.wait(timeout + 20)
        (found,) = caller.all("answer") or caller.all("error")
        return found

    def notify(self, kind: str, count: int, start: int = 0) -> Program:
        """Send so many notifications, and wait until the broker has confirmed them."""
        sender = self.program("notify", self.url, kind, str(count), str(start))
        sender.wait_for("all_sent")
        return sender

    def left(self) -> int:
        """Return how many notifications wait in the queue."""
        url = self.url.partition("?")[0].replace("rabbit://", "amqp://")
        with Connection(url) as connection:
            try:
                found = connection.default_channel.queue_declare(f"{self.name}.info", passive=True)
            except NotFound:
                return 0
            return int(found.message_count)


def worker(program: Program, number: int = 0) -> dict[str, Any]:
    """Return what the status says of a worker."""
    with control.Client(program.directory / "control") as client:
        found: dict[str, Any] = client.status()["services"][0]["workers"][number]
    return found


def total(program: Program, figure: str) -> float:
    """Return the sum of a figure over all workers."""
    with control.Client(program.directory / "control") as client:
        workers = client.status()["services"][0]["workers"]
    return sum(one["figures"].get(figure, 0) for one in workers)


def await_status(program: Program, text: str, timeout: float = 20) -> dict[str, Any]:
    """Wait until a worker says something; return what the status says of it."""

    def look() -> dict[str, Any] | None:
        found = worker(program)
        return found if text in str(found["status"]) else None

    found: dict[str, Any] = until(look, f"a worker says {text!r}", timeout)
    return found
