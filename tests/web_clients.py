"""Clients of a web server under test: many at a time, none of which ever tries again.

Responsible for sending requests until told to stop, and for counting what came of them. Half of
the clients keep their connection for as long as the server lets them, the others open one for each
request. A failure is whatever is not the expected answer.
"""

import http.client
import json
import random
import sys
import threading
from typing import NamedTuple

PAUSE = 0.02
"""Seconds that a client thinks between two requests, at most: short and long pauses, so that some
connections are idle whenever a server looks at them."""
PATIENCE = 20
"""Seconds that an answer may take."""


class Outcome(NamedTuple):
    """What came of all requests."""

    kept: int
    """Answered on a connection that had been used before."""
    fresh: int
    """Answered on a new connection."""
    failures: list[str]
    """Of the others: what went wrong."""

    @property
    def sent(self) -> int:
        return self.kept + self.fresh + len(self.failures)


class Clients:
    """Clients at work.

    Args:
        port: where the server listens, on loopback.
        path: what they ask for.
        keeping: how many keep their connections.
        opening: how many open a new one for each request.
        pause: seconds between two requests of a client, at most.
    """

    def __init__(
        self, port: int, path: str = "/", keeping: int = 6, opening: int = 6, pause: float = PAUSE
    ) -> None:
        self._port = port
        self._path = path
        self._pause = pause
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._counts = {True: 0, False: 0}
        self._failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(number < keeping,), daemon=True)
            for number in range(keeping + opening)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int) -> None:
        """Wait until this many more requests have been answered, or one has failed.

        Raises:
            AssertionError: it takes too long.
        """
        with self._answered:
            goal = sum(self._counts.values()) + more
            assert self._answered.wait_for(
                lambda: self._failures or sum(self._counts.values()) >= goal, PATIENCE
            ), "no answers any more"

    def stop(self) -> Outcome:
        """Have each finish its request."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return Outcome(self._counts[True], self._counts[False], self._failures)

    def _ask(self, keep: bool) -> None:
        chance = random.Random()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while not self._stopping.is_set():
            used = connection.sock is not None
            try:
                connection.request("GET", self._path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise http.client.HTTPException(f"{answer.status} {body[:80]!r}")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with self._answered:
                    self._failures.append(f"{'used' if used else 'new'}: {error!r}")
                    self._answered.notify_all()
            else:
                with self._answered:
                    self._counts[used] += 1
                    self._answered.notify_all()
            if not keep:
                connection.close()
            self._stopping.wait(chance.random() * self._pause)
        connection.close()


def main() -> int:
    """Ask until the end of the standard input, and print the outcome as JSON.

    For a server in a network of its own; the arguments are a port and a path.
    """
    clients = Clients(int(sys.argv[1]), sys.argv[2])
    clients.wait_for(50)
    print("asking", flush=True)
    sys.stdin.read()
    print(json.dumps(clients.stop()._asdict()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
