"""What is seen from outside: who is a member, what answers, and what the broker has closed.

Responsible for observing as another program of the cluster would. Never touches a subject.
"""

import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from bench.heartbeats.plan import INTERVAL, PATIENCE

LOOK = 0.1
"""Seconds between two looks at the group."""
SETTLED = 20
"""Looks that must find the same members before a start is over."""
EVERY = 1.0
"""Seconds between two pings."""
FIRST = 0.5
"""Seconds for a ping, and between two, as long as none has been answered."""
SECOND = 1_000_000_000
_MISSED = re.compile(
    # The name that oslo.messaging gives a connection: program, process, and a UUID.
    r"closing AMQP connection <[^>]*> \([^)]* - [^:)]*:(\d+):[^)]*\):?[^\n]*\n"
    r"[^\n]*missed heartbeats from client"
)


class Watcher(threading.Thread):
    """Looks at a group all the time, by a coordinator of its own."""

    def __init__(self, url: str, group: str) -> None:
        from tooz.coordination import get_coordinator

        super().__init__(daemon=True)
        self.group = group.encode()
        self.seen: list[tuple[int, frozenset[bytes]]] = []
        self._over = threading.Event()
        self._coordinator = get_coordinator(url, b"watcher")
        self._coordinator.start()
        self.start()

    def run(self) -> None:
        from tooz import ToozError

        while not self._over.wait(LOOK):
            try:
                found = frozenset(self._coordinator.get_members(self.group).get())
            except ToozError:
                found = frozenset()  # there is no group yet
            self.seen.append((time.monotonic_ns(), found))

    def settled(self) -> bool:
        """Tell whether somebody is there, and the same ones for a while."""
        last = {found for _, found in self.seen[-SETTLED:]}
        return len(self.seen) >= SETTLED and len(last) == 1 and frozenset() not in last

    def missing(self, begin: int, end: int) -> float:
        """Return for what share of a time nobody was there: each subject has its own group."""
        looks = [bool(found) for at, found in self.seen if begin <= at < end]
        return looks.count(False) / len(looks)

    def end(self) -> None:
        """Look no more; returns at once."""
        self._over.set()

    def close(self) -> None:
        """Wait for the end, and let go of the server."""
        self.end()
        self.join()
        self._coordinator.stop()


class Pinger(threading.Thread):
    """Pings an RPC server, one ping after the other."""

    def __init__(self, broker: str, topic: str) -> None:
        import oslo_messaging
        from oslo_config import cfg

        super().__init__(daemon=True)
        # oslo.messaging looks for some of its options nowhere else.
        cfg.CONF([], project="heartbeats", default_config_files=[])
        self._transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=broker)
        target = oslo_messaging.Target(topic=topic, server="one")
        self._client = oslo_messaging.get_rpc_client(self._transport, target)
        self._failure = oslo_messaging.MessagingException
        self._over = threading.Event()
        self.pings: list[tuple[int, bool]] = []
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic_ns()
            # Nobody may be there yet to answer the first ones.
            answers = any(answered for _, answered in self.pings)
            try:
                self._client.prepare(timeout=PATIENCE if answers else FIRST).call({}, "ping")
                answered = True
            except self._failure:
                answered = False
            self.pings.append((began, answered))
            self._over.wait((EVERY if answers else FIRST) - (time.monotonic_ns() - began) / SECOND)

    def answered(self) -> bool:
        """Tell whether the last ping was answered."""
        return bool(self.pings) and self.pings[-1][1]

    def count(self, begin: int, end: int) -> tuple[int, int]:
        """Return how many were sent within a time, and how many of them have failed."""
        within = [answered for at, answered in self.pings if begin <= at < end]
        return len(within), within.count(False)

    def end(self) -> None:
        """Send no more pings; returns at once."""
        self._over.set()

    def close(self) -> None:
        """Wait for the end, and let go of the broker."""
        self.end()
        self.join()
        self._transport.cleanup()


def lateness(beats: Iterable[int], begin: int, end: int) -> list[float]:
    """Return how late each beat was that was due within a time, in seconds.

    A beat is due :data:`INTERVAL` after the one before it, the next one as long after that, and
    so on, whether it comes or not: a gap of five seconds is nine beats that were late. One that
    has not come at the end is as late as that.

    Args:
        beats: when the server had taken one; nanoseconds of the monotonic clock, as all here.
        begin: of the time.
        end: of the time.
    """
    instants = sorted(beats)
    interval = round(INTERVAL * SECOND)
    found = []
    for last, following in zip(instants, [*instants[1:], end], strict=True):
        due = last + interval
        if following == end and due >= end:
            break
        # One that comes a little early is in time, and is due all the same.
        while due == last + interval or due < following:
            if begin <= due < end:
                found.append(max(0, min(following, end) - due) / SECOND)
            due += interval
    return found


def closed(log: Path, pids: Iterable[int]) -> int:
    """Return how many connections of some processes RabbitMQ has closed for want of heartbeats."""
    wanted = set(pids)
    found = _MISSED.findall(log.read_text(errors="replace"))
    return sum(int(pid) in wanted for pid in found)
