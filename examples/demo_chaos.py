"""What the demo does to the indexer, when, and whether the indexer has got over it.

Responsible for the plan, for carrying it out as the work proceeds, and for noticing the outcome.
Never touches the work itself.
"""

import random
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

from examples.demo_indexer import Indexer, Service, Worker
from examples.demo_proof import connect


class Snapshot(NamedTuple):
    """How far the work is, read from the indexer's database."""

    done: int
    by_worker: dict[int, int]  # worker_id -> files done
    in_hand: dict[int, str]  # pid -> the file that it has claimed


def look(database: str) -> Snapshot:
    """Look into the indexer's database."""
    with closing(connect(database)) as db:
        by_worker = dict(
            db.execute("SELECT worker, count(*) FROM jobs WHERE state = 'done' GROUP BY worker")
        )
        in_hand = {
            pid: path.decode(errors="replace")
            for pid, path in db.execute("SELECT claimant, path FROM jobs WHERE state = 'claimed'")
        }
    return Snapshot(sum(by_worker.values()), by_worker, in_hand)


class Deed(NamedTuple):
    """Something to do to the indexer."""

    at: float  # the share of the work that is done by then
    what: str  # kill, reload or scale
    workers: int = 0  # to scale to


def plan(workers: int, kills: int, chance: random.Random) -> list[Deed]:
    """Return what to do, in order, spread over the work."""
    # Each kill somewhere in its own part of the work, none so late that it meets idle workers.
    deeds = [Deed(0.03 + 0.92 * (i + chance.random()) / kills, "kill") for i in range(kills)]
    deeds += [Deed(0.35, "reload"), Deed(0.7, "reload")]
    for at, wanted in ((0.15, workers + 2), (0.5, max(1, workers // 2)), (0.8, workers)):
        deeds.append(Deed(at, "scale", wanted))
    return sorted(deeds)


class Chaos:
    """Carries the plan out.

    Args:
        indexer: its victim.
        workers: how many workers it has.
        kills: how many of its workers to kill.
        chance: decides when, and which.
        tell: is told of everything that happens.
    """

    def __init__(
        self,
        indexer: Indexer,
        workers: int,
        kills: int,
        chance: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self._indexer = indexer
        self._chance = chance
        self._tell = tell
        self._deeds = plan(workers, kills, chance)
        self._target = workers  # how many workers we want in the end
        self._asked = workers  # how many our signals amount to so far
        self._scaling_from: int | None = None
        self._dead: dict[tuple[str, int], Worker] = {}  # killed, and not back yet
        self._hangups = 0
        self.kills = 0
        self.survived = 0
        self.reloads = 0
        self.scalings = 0

    @property
    def over(self) -> bool:
        """Whether all is done, and the indexer has got over it."""
        return not (
            self._deeds
            or self._dead
            or self._hangups > self.reloads
            or self._scaling_from is not None
        )

    def go_on(self, services: Sequence[Service], snapshot: Snapshot, share: float) -> None:
        """Notice what has come of earlier deeds, and do the next one if it is due."""
        self._notice_returns(services)
        self._notice_reload(services)
        self._scale(services)
        if (
            self._deeds
            and share >= self._deeds[0].at
            and self._do(self._deeds[0], services, snapshot)
        ):
            self._deeds.pop(0)

    def _do(self, deed: Deed, services: Sequence[Service], snapshot: Snapshot) -> bool:
        """Do something; return whether it was possible."""
        if deed.what == "kill":
            return self._kill(services, snapshot)
        if deed.what == "reload":
            if self._hangups > self.reloads:
                return False  # one at a time, so that each one can be seen to be finished
            self._indexer.send(signal.SIGHUP)
            self._hangups += 1
            self._tell("sent SIGHUP: the workers restart one by one, the scanner looks again")
            return True
        if self._scaling_from is not None:
            return False
        self._scaling_from, self._target = self._target, deed.workers
        name = "SIGTTIN" if self._target > self._scaling_from else "SIGTTOU"
        times = abs(self._target - self._scaling_from)
        self._tell(f"scaling {self._scaling_from} -> {self._target}: {times} times {name}")
        return True

    def _kill(self, services: Sequence[Service], snapshot: Snapshot) -> bool:
        victims = [
            worker
            for service in services
            for worker in service.workers
            if worker.pid is not None and worker.state == "ready" and worker.slot not in self._dead
            # The scanner has done its work: once is enough to see that it comes back.
            if worker.service == "indexer" or worker.starts == 1
        ]
        if not victims:
            return False
        victim = self._chance.choice(victims)
        assert victim.pid is not None
        if not self._indexer.kill(victim.pid):
            return False  # it has ended since the status was taken
        self.kills += 1
        self._dead[victim.slot] = victim
        at_work = snapshot.in_hand.get(victim.pid)
        self._tell(
            f"killed {victim.service} {victim.id} (pid {victim.pid}) with SIGKILL"
            + (f", indexing {at_work}" if at_work else "")
        )
        return True

    def _notice_returns(self, services: Sequence[Service]) -> None:
        slots = {worker.slot: worker for service in services for worker in service.workers}
        for slot, victim in list(self._dead.items()):
            worker = slots.get(slot)
            name = f"{victim.service} {victim.id}"
            if worker is None:
                self._tell(f"{name} is not wanted any more")
            elif worker.state == "ready" and worker.pid != victim.pid:
                self._tell(f"{name} is back (pid {worker.pid})")
            else:
                continue
            del self._dead[slot]
            self.survived += 1

    def _notice_reload(self, services: Sequence[Service]) -> None:
        done = min(s.generation - s.reloading for s in services)
        if done > self.reloads:
            self.reloads = done
            self._tell(f"reload {done} has reached every worker")

    def _scale(self, services: Sequence[Service]) -> None:
        """Send one more signal, once the one before it has been seen to work."""
        service = next(s for s in services if s.name == "indexer")
        if service.wanted != self._asked:
            return
        if self._asked < self._target:
            self._indexer.send(signal.SIGTTIN)
            self._asked += 1
        elif self._asked > self._target:
            self._indexer.send(signal.SIGTTOU)
            self._asked -= 1
        elif self._scaling_from is not None and len(service.workers) == service.wanted:
            self._tell(f"scaled {self._scaling_from} -> {self._target}")
            self._scaling_from = None
            self.scalings += 1
