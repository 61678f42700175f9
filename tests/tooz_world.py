"""Managers in virtual time: real memberships, with a server and a clock that are made up.

Responsible for interleaving what many managers do, request by request, and for everything that may
go wrong: late answers, lost answers, processes that stand still, die and come again. All chance is
drawn from one seed. Each manager has a thread, and exactly one of them runs at a time.
"""

import heapq
import itertools
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cotyledon.contrib.tooz._members import Holding
from cotyledon.contrib.tooz._membership import SECOND, Membership, Settings
from cotyledon.contrib.tooz._ring import SPACE

TIMEOUT = 3 * SECOND
SERVICE = "Poller"
PLACES = [random.Random(number).randrange(SPACE) for number in range(40)]
"""Where keys are that are looked at."""


class Ended(BaseException):
    """A process was killed while it waited."""


class World:
    """A clock, a server and managers."""

    def __init__(self, seed: int) -> None:
        self.now = 1000 * SECOND
        self.chance = random.Random(seed)
        self.entries: dict[bytes, int] = {}  # id -> when it runs out
        self.group = False
        self.frozen_until = 0
        self.latency = 0.01
        self.late = 0.0  # how often an answer takes seconds
        self.lost = 0.0  # how often there is none
        self.managers: list[Manager] = []
        self.failure: BaseException | None = None
        self._queue: list[tuple[int, int, Any]] = []
        self._count = itertools.count()
        self._baton = threading.Semaphore(0)

    def at(self, when: int, what: Any) -> None:
        """Have something called, or a thread go on, at an instant."""
        heapq.heappush(self._queue, (when, next(self._count), what))

    def sleep(self, process: "Process", seconds: float) -> None:
        """Let time pass in the thread of a process."""
        self.at(self.now + round(seconds * SECOND), process)
        self._baton.release()
        process.turn.acquire()
        if process.killed:
            raise Ended

    def run(self, seconds: float, check: Any) -> None:
        """Let time pass, and check after everything that happens."""
        end = self.now + round(seconds * SECOND)
        while self._queue and self._queue[0][0] <= end:
            self.now, _, what = heapq.heappop(self._queue)
            if isinstance(what, Process):
                what.turn.release()
                self._baton.acquire()
                if self.failure is not None:
                    raise self.failure
            else:
                what()
            check(self)
        self.now = end
        check(self)

    def over(self, process: "Process") -> None:
        """Take back the turn from a thread that ends."""
        self._baton.release()

    def close(self) -> None:
        """End every thread."""
        for manager in self.managers:
            if manager.process is not None:
                manager.process.kill()
        self.run(100, lambda world: None)

    def owners(self) -> dict[int, list[str]]:
        """Return for each place the managers that own it now."""
        found: dict[int, list[str]] = {place: [] for place in PLACES}
        for manager in self.managers:
            if manager.alive and self.now < manager.until:
                for place, since in manager.owned:
                    if since <= self.now:
                        found[place].append(manager.host)
        return found

    # The server

    def request(self, process: "Process", do: Any) -> Any:
        """Do something at the server, in the thread of a process, with all that may go wrong."""
        chance = self.chance
        late = chance.uniform(0.5, 4) if chance.random() < self.late else 0
        self.sleep(process, late + chance.uniform(0, self.latency))
        if self.now < self.frozen_until or chance.random() < self.lost:
            self.sleep(process, 0.5)
            raise TimeoutError("nothing was heard")
        self.entries = {one: end for one, end in self.entries.items() if end > self.now}
        result = do()
        late = chance.uniform(0.5, 4) if chance.random() < self.late else 0
        lost = chance.random() < self.lost
        self.sleep(process, late + chance.uniform(0, self.latency))
        if lost:
            raise TimeoutError("no answer")
        return result


class FakeServer:
    """A connection of one member id."""

    def __init__(self, process: "Process", member_id: bytes) -> None:
        self._world, self._process, self._id = process.world, process, member_id

    def join(self) -> None:
        def do() -> None:
            self._world.entries[self._id] = self._world.now + TIMEOUT

        self._world.request(self._process, do)

    def renew(self) -> None:
        def do() -> None:
            if self._id in self._world.entries:
                self._world.entries[self._id] = self._world.now + TIMEOUT

        self._world.request(self._process, do)

    def members(self) -> Iterable[bytes]:
        return list(self._world.request(self._process, lambda: list(self._world.entries)))

    def leave(self) -> None:
        self._world.request(self._process, lambda: self._world.entries.pop(self._id, None))

    def close(self) -> None:
        pass


class Process:
    """The process that holds a membership."""

    def __init__(self, world: World, manager: "Manager") -> None:
        self.world, self.manager = world, manager
        self.killed = False
        self.leaving = False
        self.pause = 0.0
        self.turn = threading.Semaphore(0)
        self.membership: Membership | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        world.at(world.now, self)

    def kill(self) -> None:
        self.killed = True

    def _main(self) -> None:
        self.turn.acquire()
        try:
            if not self.killed:
                self._live()
        except Ended:
            pass
        except BaseException as error:  # for the thread of the test
            self.world.failure = error
        self.world.over(self)

    def _live(self) -> None:
        world, manager = self.world, self.manager
        settings = Settings("x://", "g", manager.host, manager.token, TIMEOUT, manager.poll)
        membership = Membership(
            settings,
            lambda member_id: FakeServer(self, member_id),
            manager,
            lambda: world.now,
            world.chance.random,
            manager.say,
            lambda error: f"{type(error).__name__}: {error}",
            entry=world.now // 1000,
        )
        self.membership = membership
        if manager.published:
            membership.holdings.adopt(manager.arcs, manager.until)
        while not self.leaving:
            workers = {SERVICE: manager.workers} if manager.workers else {}
            world.sleep(self, membership.step(workers))
            if self.pause:
                pause, self.pause = self.pause, 0.0
                world.sleep(self, pause)
        membership.leave()


class Manager:
    """A manager: what its workers read, and the process that writes it."""

    def __init__(self, world: World, host: str, workers: int = 3, poll: float = 0.25) -> None:
        self.world, self.host, self.workers, self.poll = world, host, workers, poll
        self.token = f"{world.chance.getrandbits(48):x}"
        self.arcs: Mapping[str, Sequence[Holding]] = {}
        self.owned: list[tuple[int, int]] = []
        self.until = 0
        self.said = ""
        self.published = False
        self.alive = True
        world.managers.append(self)
        self.process: Process | None = Process(world, self)

    # As shared memory

    def publish(self, services: Mapping[str, Sequence[Holding]], until: int) -> None:
        self.arcs = {name: list(arcs) for name, arcs in services.items()}
        self.until = until
        self.published = True
        self.owned = [
            (place, arc.since)
            for arc in self.arcs.get(SERVICE, ())
            for place in PLACES
            if arc.low <= place < arc.high
        ]

    def extend(self, until: int) -> None:
        self.until = until

    def ring(self) -> None:
        pass

    def say(self, text: str) -> None:
        self.said = text

    # What may happen to it

    def leave(self) -> None:
        """Stop in order."""
        if self.process is not None:
            self.process.leaving = True

    def kill(self) -> None:
        """Kill the whole host."""
        self.alive = False
        if self.process is not None:
            self.process.kill()

    def kill_beat(self, seconds: float) -> None:
        """Kill the process that holds the membership; another one comes after some seconds."""
        killed = self.process
        if killed is not None and not killed.leaving and not killed.killed:
            killed.kill()

            def again() -> None:
                if self.alive:
                    self.process = Process(self.world, self)

            self.world.at(self.world.now + round(seconds * SECOND), again)

    def pause(self, seconds: float) -> None:
        """Have the process stand still for a while, between two steps."""
        if self.process is not None:
            self.process.pause = seconds
