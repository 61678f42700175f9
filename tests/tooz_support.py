"""What tests of groups share: managers in programs, and when which key had an owner.

Responsible for putting together what the workers of several programs have said. A worker says what
it owns when it changes; what a dead one had said is void from the instant of its death.
"""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from tests.harness import TIMEOUT, Program, alive, descendants, until, wait_gone
from tests.servers import Etcd, Redis, Server, ZooKeeper

KEYS = 60
SETTLES = 30.0
"""Seconds that a group may take to settle, on a slow machine."""


KINDS: dict[str, type[Server]] = {"redis": Redis, "etcd": Etcd, "zookeeper": ZooKeeper}


def started(kind: str) -> Iterator[Server]:
    """Give a server with nothing in it, for a fixture."""
    if KINDS[kind].missing():
        pytest.skip(KINDS[kind].missing())
    server = KINDS[kind]()
    try:
        server.start()
        yield server
    finally:
        server.close()


class Span(NamedTuple):
    """For so long a worker owned a key."""

    begin: float
    end: float


class Cluster:
    """Some managers in one group."""

    def __init__(self, start: Callable[..., Program], url: str) -> None:
        self._start = start
        self.url = url
        self.programs: dict[str, Program] = {}
        self._dead: dict[tuple[str, int], float] = {}

    def add(self, host: str, *options: str, name: str = "") -> Program:
        """Start a manager; ``name`` is for the test, if two have one name."""
        program = self._start("tooz_share.py", self.url, host, *options)
        self.programs[name or host] = program
        return program

    # What is owned

    def owned(self) -> dict[tuple[str, int], set[int]]:
        """Return what each living worker said last."""
        found: dict[tuple[str, int], set[int]] = {}
        for name, program in self.programs.items():
            for event in program.all("owns"):
                found[name, event.pid] = set(event.fields["keys"])
        return {who: keys for who, keys in found.items() if alive(who[1])}

    def owners(self) -> dict[int, list[tuple[str, int]]]:
        """Return who owns each key."""
        found: dict[int, list[tuple[str, int]]] = {key: [] for key in range(KEYS)}
        for who, keys in self.owned().items():
            for key in keys:
                found[key].append(who)
        return found

    def settled(self, *names: str) -> bool:
        """Tell whether each key has one owner, and each of these managers has some."""
        owners = self.owners()
        having = {who[0] for one in owners.values() for who in one}
        return all(len(one) == 1 for one in owners.values()) and having == set(names)

    def settle(self, *names: str, timeout: float = SETTLES) -> None:
        """Wait until it is."""
        try:
            until(lambda: self.settled(*names), f"{names} have settled", timeout)
        except AssertionError as error:
            details = "\n".join(program.describe() for program in self.programs.values())
            raise AssertionError(f"{error}\n{self.owners()}\n{details}") from None

    def gap(self, since: float) -> float:
        """Return for how long at most a key had no owner from an instant until it had one again.

        All keys must have one now.
        """
        longest = 0.0
        for key in range(KEYS):
            covered = since
            for begin, end in sorted(self._spans(key)):
                if end > covered:
                    longest = max(longest, begin - covered)
                    covered = max(covered, end)
        return longest

    def overlap(self) -> float:
        """Return for how long at most workers of two managers owned one key."""
        longest = 0.0
        for key in range(KEYS):
            spans = [(span, name) for name in self.programs for span in self._spans(key, name)]
            for (one, of_one), (other, of_other) in itertools.combinations(spans, 2):
                if of_one != of_other:
                    both = min(one.end, other.end) - max(one.begin, other.begin)
                    longest = max(longest, both)
        return longest

    def _spans(self, key: int, *names: str) -> Iterator[Span]:
        for name in names or self.programs:
            program = self.programs[name]
            begun: dict[int, float] = {}
            for event in program.all("owns"):
                if key in event.fields["keys"]:
                    begun.setdefault(event.pid, event.at)
                elif event.pid in begun:
                    yield Span(begun.pop(event.pid), event.at)
            for pid, begin in begun.items():
                yield Span(begin, self._dead.get((name, pid), float("inf")))

    # What is done

    def workers(self, name: str) -> list[int]:
        """Return the pids of the living workers that have said something."""
        return sorted(pid for who, pid in self.owned() if who == name)

    def beat(self, name: str) -> int:
        """Return the pid of the process that holds the membership."""
        program = self.programs[name]
        known = {event.pid for event in program.all("init")}
        found = [pid for pid in program.workers() if pid not in known]
        assert len(found) == 1, program.describe()
        return found[0]

    def kill_worker(self, name: str, pid: int) -> float:
        """Kill a worker and wait for its end; return when it was killed."""
        os.kill(pid, signal.SIGKILL)
        self._dead[name, pid] = now = time.monotonic()
        wait_gone(pid)
        return now

    def stop(self, name: str) -> float:
        """Send TERM to a manager, and wait for its end; return when it was sent."""
        program = self.programs[name]
        pids = self.workers(name)
        now = time.monotonic()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0, program.describe()
        for pid in pids:
            self._dead[name, pid] = now  # as if it had owned nothing from then on
        return now

    def kill_host(self, name: str) -> float:
        """Kill a manager and all its processes at once; return when."""
        program = self.programs[name]
        pids = self.workers(name)
        everybody = [program.pid, *descendants(program.pid)]
        for pid in everybody:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        now = time.monotonic()
        program.wait()
        for pid in pids:
            self._dead[name, pid] = now
        return now

    def said(self, name: str) -> str:
        """Return what the process that holds the membership says of itself."""
        told = [
            e for e in self.programs[name].all("status") if e.fields["service"].startswith("beat")
        ]
        return str(told[-1].fields["text"]) if told else ""

    def wait_said(self, name: str, text: str, timeout: float = TIMEOUT) -> str:
        """Wait until it says something with this text in it; return all of it."""

        def look() -> str:
            said = self.said(name)
            return said if text in said else ""

        try:
            return str(until(look, f"{name} says {text!r}", timeout))
        except AssertionError as error:
            raise AssertionError(
                f"{error}, but {self.said(name)!r}\n{self.programs[name].describe()}"
            ) from None
