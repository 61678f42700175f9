"""The board: what is wanted and what is there, and the few moves that change it.

Responsible for every write to a worker's phase and deadline, to the two places of a slot, and to
the counts of a service, so that these agree. Never decides which move to make: the machine and
its parts do.
"""

from collections import OrderedDict
from collections.abc import Callable
from heapq import heappush
from typing import TypeAlias

from cotyledon._core.effects import Effect, Escalation, Kill, Reason, Spawn, StopManager, Terminate
from cotyledon._core.grace import bounded
from cotyledon._core.state import Ending, Phase, ServiceState, Slot, Worker

SECOND = 1_000_000_000
MARGIN = SECOND // 2
"""How long after a worker should have ended by its own timeout it is killed."""
UNKILLABLE = 3 * SECOND
"""How long a killed process may take to vanish before people are told."""

Timed: TypeAlias = Worker | Slot | ServiceState


class Board:
    """Services, slots and workers, and what is to be done about them in this step.

    Args:
        grace: the manager's graceful timeout (0: none).
        chance: returns a number in [0, 1), for jitter.
    """

    def __init__(self, *, grace: int, chance: Callable[[], float]) -> None:
        self.grace = grace
        self.chance = chance
        self.services: dict[int, ServiceState] = {}
        self.workers: dict[int, Worker] = {}
        self.stopping = False
        self.escalated = False  # a service has asked for a stop of the manager
        self.status = 0  # what the manager will end with
        self.stop_at: int | None = None  # the deadline of the whole stop
        self.touched: dict[Slot, None] = {}  # to settle in this step; an ordered set
        self.to_roll: dict[ServiceState, None] = {}
        self.startable: OrderedDict[Slot, None] = OrderedDict()
        self.effects: list[Effect] = []
        self.hints: list[tuple[int, int, Timed]] = []
        self._serial = 0  # numbers workers, and breaks ties in the heap

    def touch(self, slot: Slot) -> None:
        """Have a slot looked at in this step."""
        self.touched[slot] = None
        service = slot.service
        if service.rolling or service.replacing:
            self.to_roll[service] = None

    def escalate(self, service: ServiceState, status: int, reason: Escalation) -> None:
        """Have the manager stopped, once; nothing is started any more."""
        if self.stopping or self.escalated:
            return
        self.escalated = True
        self.status = status
        self.startable.clear()
        self.effects.append(StopManager(service.key, status, reason))

    # A worker's life

    def spawn(self, slot: Slot, now: int) -> None:
        """Put a new worker into a slot: its worker, or the successor of the one that is there."""
        self._serial += 1
        worker = Worker(self._serial, slot, now)
        service = slot.service
        if slot.worker is None:
            slot.worker = worker
            reason = Reason.RESPAWN if slot.starts else Reason.WANTED
        else:
            slot.second = worker
            reason = Reason.SUCCESSOR
        if slot.second is not worker:
            slot.barren = False
        slot.surging = False
        slot.starts += 1
        service.alive += 1
        self.workers[worker.key] = worker
        timeout = service.policy.start.timeout
        if timeout is not None:
            self.set_deadline(worker, now + round(timeout * SECOND))
        self.effects.append(Spawn(worker.key, service.key, slot.worker_id, self.grace, reason))

    def enter(self, worker: Worker, phase: Phase, deadline: int | None, now: int) -> None:
        """Let a worker's life go on to its next phase."""
        self._count(worker, -1)
        if phase >= Phase.STOPPING:
            worker.available = False
            if worker.replace is not None:
                worker.replace = None
                worker.slot.service.replacing -= 1
        worker.phase = phase
        worker.since = now
        self._count(worker, 1)
        self.set_deadline(worker, deadline)

    def make_available(self, worker: Worker) -> None:
        """Count a worker that has been ready for long enough."""
        self._count(worker, -1)
        worker.available = True
        self._count(worker, 1)

    def terminate(self, worker: Worker, reason: Reason, now: int) -> None:
        """Ask a worker to stop gracefully, within its timeout."""
        worker.cause = reason
        grace = bounded(worker.grace, self.grace)
        deadline = earlier(now + grace + MARGIN if grace else None, self.stop_at)
        if deadline is not None:
            deadline = max(deadline, now + 1)  # the stop may be over when it is told, late
        self.enter(worker, Phase.STOPPING, deadline, now)
        self.effects.append(Terminate(worker.key, reason))

    def empty(self, slot: Slot, reason: Reason, now: int) -> None:
        """Ask the workers in a slot to stop, unless they have been asked."""
        for worker in (slot.worker, slot.second):
            if worker is not None and worker.phase < Phase.STOPPING:
                self.terminate(worker, reason, now)

    def kill(self, worker: Worker, reason: Reason, now: int) -> None:
        """Kill a worker, and expect it to be gone soon."""
        worker.cause = reason
        self.enter(worker, Phase.KILLED, now + UNKILLABLE, now)
        self.effects.append(Kill(worker.key, reason))

    def leave(self, worker: Worker) -> None:
        """Take a worker that is gone off the board; its successor takes its place."""
        self.enter(worker, Phase.KILLED, None, worker.since)
        slot = worker.slot
        service = slot.service
        if slot.second is worker:
            slot.second = None
        else:
            slot.worker = None
            second = slot.second
            if second is not None and second.phase < Phase.STOPPING:
                slot.worker, slot.second = second, None
                self._count(second, 1)
            # Whether and when it gets another one is decided anew.
            self.unqueue(slot)
        del self.workers[worker.key]
        service.alive -= 1
        if not service.alive and (self.stopping or service.removed):
            for one in service.above:
                self.touch_all(one)

    def unqueue(self, slot: Slot) -> None:
        """Start nothing in a slot, unless that is decided anew."""
        slot.surging = False
        self.startable.pop(slot, None)

    def promote(self, slot: Slot) -> Worker | None:
        """Let a successor take its worker's place; return the one that was there."""
        old, new = slot.worker, slot.second
        assert old is not None
        assert new is not None
        self._count(old, -1)
        slot.worker, slot.second = new, old
        self._count(new, 1)
        return old

    def flag(self, worker: Worker, reason: Reason) -> None:
        """Have a worker replaced, as soon as the service's rollout allows it."""
        if worker.replace is None and worker.phase < Phase.STOPPING:
            worker.replace = reason
            worker.slot.service.replacing += 1
            self.touch(worker.slot)

    def _count(self, worker: Worker, sign: int) -> None:
        if worker.slot.worker is worker and worker.phase is Phase.READY:
            service = worker.slot.service
            service.ready += sign
            if worker.available:
                service.available += sign

    # A slot's end

    def end(self, slot: Slot, ending: Ending) -> None:
        """Start nothing more in a slot."""
        slot.ending = ending
        if slot.wanted:
            slot.service.ended += 1
            slot.service.done += ending is Ending.DONE

    def reopen(self, slot: Slot) -> None:
        """Start workers in a slot again."""
        if slot.ending is not None and slot.wanted:
            slot.service.ended -= 1
            slot.service.done -= slot.ending is Ending.DONE
        slot.ending = None

    def want(self, service: ServiceState, wanted: int) -> None:
        """Change how many workers a service has; a slot that is not wanted has not ended."""
        self.recall(service)
        for slot in service.slots[wanted:]:
            self.reopen(slot)
        service.wanted = wanted
        service.slots.extend(Slot(service, i) for i in range(len(service.slots), wanted))
        self.touch_all(service)

    def recall(self, service: ServiceState) -> None:
        """Take back the successors that have not been started: there may be fewer of them now."""
        for slot in service.slots:
            if slot.surging or slot.second is not None:
                self.unqueue(slot)

    def touch_all(self, service: ServiceState) -> None:
        """Have every slot of a service looked at in this step."""
        for slot in service.slots:
            self.touch(slot)

    # Deadlines

    def set_deadline(self, worker: Worker, deadline: int | None) -> None:
        """Change when a worker's phase must have ended, or be looked at."""
        if deadline is not None and deadline != worker.deadline:
            self.hint(deadline, worker)
        worker.deadline = deadline

    def hint(self, when: int, owner: Timed) -> None:
        """Note an instant at which something may be due."""
        self._serial += 1
        heappush(self.hints, (when, self._serial, owner))


def earlier(one: int | None, other: int | None) -> int | None:
    """Return the earlier of two instants that may be never."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
