"""The state machine: ``step(now, events)`` returns effects.

Responsible for every decision. Never performs one.

The rules, in the order in which a step applies them:

1. *Record.* An event handler writes down a fact or a wish and touches the slots concerned.
2. *Expire.* A phase that outlived its deadline goes on to the next one; the last one is KILL.
3. *Settle.* A touched slot that is not wanted loses its worker; one that is wanted and empty
   is queued, at once or at the end of its back-off.
4. *Roll.* A service behind its generation reloads in place, or restarts as many workers as
   ``max_unavailable`` allows.
5. *Start.* Queued slots get workers, a few at each instant, so that nothing that happens
   meanwhile has to wait for a long row of forks.
6. *Conclude.* A stop with no worker left is an exit; a start with every worker ready is news.

It is one file and one class, longer than the others, on purpose: the rules above are read
together or not at all.

A step leaves nothing to do at the same instant: a second one returns no effect, and
:meth:`Core.next_deadline` is later than ``now``. Deadlines are fields of slots and workers; the
heap holds hints to them, and a hint that does not match its field is dropped.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, ClassVar

from cotyledon._core import backoff
from cotyledon._core.effects import (
    AllReady,
    Effect,
    Exit,
    Kill,
    Reason,
    Reload,
    RolloutFinished,
    Spawn,
    Terminate,
    Unkillable,
    WorkerDied,
    WorkerReady,
)
from cotyledon._core.events import (
    AbortRequested,
    Event,
    Exited,
    GraceChanged,
    HurryRequested,
    Ready,
    Reloaded,
    ReloadRequested,
    ScaleRequested,
    ServiceAdded,
    SpawnFailed,
    StopRequested,
)
from cotyledon._core.grace import bounded
from cotyledon._core.state import DeathRecord, Phase, ServiceState, Slot, Worker

SECOND = backoff.SECOND
BURST = 8
"""Workers started at one instant when there is no pause between spawns."""
MARGIN = SECOND // 2
"""How long after a worker should have ended by its own timeout it is killed."""
HURRY = SECOND
"""What is left of a graceful stop when somebody asks a second time."""
UNKILLABLE = 3 * SECOND
"""How long a killed process may take to vanish before people are told."""
TRACE_KEPT = 256


class Core:
    """What is wanted, what is there, and what follows from it.

    Args:
        grace: the manager's graceful timeout (0: none).
        spawn_interval: the pause between two spawns (0: none).
        chance: returns a number in [0, 1), for jitter.
    """

    def __init__(self, *, grace: int, spawn_interval: int, chance: Callable[[], float]) -> None:
        self.grace = grace
        self.services: dict[int, ServiceState] = {}
        self.workers: dict[int, Worker] = {}
        self.stopping = False
        self.done = False
        self.trace: deque[tuple[int, tuple[Event, ...], tuple[Effect, ...]]] = deque(
            maxlen=TRACE_KEPT
        )
        self._spawn_interval = spawn_interval
        self._chance = chance
        self._stop_at: int | None = None  # the deadline of the whole stop
        self._aborted = False
        self._status = 0
        self._announced = False  # AllReady was said
        self._serial = 0  # numbers workers, and breaks ties in the heap
        self._spawn_at = 0  # the next instant at which something may be started
        self._touched: dict[Slot, None] = {}  # to settle in this step; an ordered set
        self._to_roll: dict[ServiceState, None] = {}
        self._startable: OrderedDict[Slot, None] = OrderedDict()
        self._hints: list[tuple[int, int, Slot]] = []
        self._effects: list[Effect] = []

    def step(self, now: int, events: Iterable[Event] = ()) -> list[Effect]:
        """Take in what happened, and return what is to be done about it, in order."""
        if self.done:
            return []
        events = tuple(events)
        effects = self._effects = []
        for event in events:
            self.record(now, event)
        self._expire(now)
        for slot in self._touched:
            self._settle(slot, now)
        self._touched.clear()
        for service in self._to_roll:
            self._roll(service, now)
        self._to_roll.clear()
        self._start(now)
        self._conclude()
        if events or effects:
            self.trace.append((now, events, tuple(effects)))
        return effects

    def record(self, now: int, event: Event) -> None:
        """Take one event in, and leave what follows from it to the next step."""
        self._RECORD[type(event)](self, event, now)

    def next_deadline(self) -> int | None:
        """Return the instant of the next step that is due without an event, if any."""
        hints = self._hints
        while hints:
            when, _, slot = hints[0]
            worker = slot.worker
            if worker is not None:
                if worker.deadline == when:
                    break
            elif slot.not_before == when and slot.wanted and not self.stopping:
                break
            heappop(hints)
        deadline = hints[0][0] if hints else None
        if self._startable and (deadline is None or self._spawn_at < deadline):
            deadline = self._spawn_at
        return deadline

    # 1. Record

    def _on_added(self, event: ServiceAdded, now: int) -> None:
        service = ServiceState(event.service, 0, event.grace, event.reloads, event.policy)
        self.services[event.service] = service
        self._want(service, event.wanted)

    def _on_scale(self, event: ScaleRequested, now: int) -> None:
        service = self.services[event.service]
        self._forgive(service)
        self._want(service, event.wanted)

    def _on_reload(self, event: ReloadRequested, now: int) -> None:
        for service in self.services.values():
            service.generation += 1
            service.rolling = True
            self._to_roll[service] = None
            self._forgive(service)

    def _on_grace(self, event: GraceChanged, now: int) -> None:
        self.grace = event.grace

    def _on_stop(self, event: StopRequested, now: int) -> None:
        within = self.grace if event.within is None else event.within
        self._begin_stop()
        if within:
            self._bound_stop(now + within)

    def _on_hurry(self, event: HurryRequested, now: int) -> None:
        self._begin_stop()
        self._bound_stop(now + HURRY)

    def _on_abort(self, event: AbortRequested, now: int) -> None:
        self._begin_stop()
        self._bound_stop(now)
        self._aborted = True
        self._status = 1
        for worker in self.workers.values():
            self._touch(worker.slot)

    def _on_ready(self, event: Ready, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.grace = event.grace
        if worker.phase is not Phase.STARTING:
            return
        service = worker.slot.service
        worker.reloads = service.reloads = event.reloads
        worker.ready_at = now
        self._enter(worker, Phase.READY, None, now)
        self._touch(worker.slot)
        self._effects.append(
            WorkerReady(worker.key, service.key, worker.slot.worker_id, now - worker.started_at)
        )

    def _on_reloaded(self, event: Reloaded, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.grace = event.grace
        worker.generation = max(worker.generation, event.generation)
        self._touch(worker.slot)

    def _on_exited(self, event: Exited, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        if worker.cause is not None:
            reason = worker.cause
        else:
            by_signal = event.status is not None and event.status < 0
            reason = Reason.SIGNAL if by_signal else Reason.EXIT
        if self._stop_at is not None and now >= self._stop_at:
            self._status = 1  # it was killed for that, or would have been
        self._bury(worker, reason, event.status, now)

    def _on_spawn_failed(self, event: SpawnFailed, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            self._bury(worker, Reason.SPAWN_FAILED, None, now)

    _RECORD: ClassVar[dict[type, Callable[[Any, Any, int], None]]] = {
        ServiceAdded: _on_added,
        ScaleRequested: _on_scale,
        ReloadRequested: _on_reload,
        GraceChanged: _on_grace,
        StopRequested: _on_stop,
        HurryRequested: _on_hurry,
        AbortRequested: _on_abort,
        Ready: _on_ready,
        Reloaded: _on_reloaded,
        Exited: _on_exited,
        SpawnFailed: _on_spawn_failed,
    }

    def _touch(self, slot: Slot) -> None:
        self._touched[slot] = None
        if slot.service.rolling:
            self._to_roll[slot.service] = None

    def _want(self, service: ServiceState, wanted: int) -> None:
        service.wanted = wanted
        service.slots.extend(Slot(service, i) for i in range(len(service.slots), wanted))
        for slot in service.slots:
            self._touch(slot)

    def _forgive(self, service: ServiceState) -> None:
        for slot in service.slots:
            slot.failures = 0
            slot.not_before = 0
            if slot.worker is None:
                self._touch(slot)

    def _begin_stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            self._startable.clear()
            for worker in self.workers.values():
                self._touch(worker.slot)

    def _bound_stop(self, deadline: int) -> None:
        """Let the stop, and every stop of a worker that goes on already, end by ``deadline``."""
        if self._stop_at is None or deadline < self._stop_at:
            self._stop_at = deadline
        for worker in self.workers.values():
            if worker.phase is Phase.STOPPING:
                self._set_deadline(worker, self._earlier(worker.deadline, self._stop_at))
            elif worker.phase is Phase.KILLED:
                given_up = self._stop_at + UNKILLABLE
                self._set_deadline(worker, self._earlier(worker.deadline, given_up))

    def _bury(self, worker: Worker, reason: Reason, status: int | None, now: int) -> None:
        slot = worker.slot
        policy = slot.service.policy
        if worker.cause is None:
            lived = 0 if worker.ready_at is None else now - worker.ready_at
            slot.failures = backoff.count(slot.failures, lived, policy.backoff)
            wait = backoff.delay(slot.failures, policy.backoff, self._chance())
            slot.not_before = now + wait
        else:
            wait = 0
            slot.not_before = 0
        self._leave(worker)
        slot.deaths.append(DeathRecord(reason, status, worker.started_at, now))
        self._touch(slot)
        self._effects.append(
            WorkerDied(
                worker.key,
                slot.service.key,
                slot.worker_id,
                reason,
                status,
                now - worker.started_at,
                wait if slot.wanted and not self.stopping else None,
                slot.failures,
                self.stopping,
            )
        )

    # 2. Expire

    def _expire(self, now: int) -> None:
        hints = self._hints
        while hints and hints[0][0] <= now:
            slot = heappop(hints)[2]
            worker = slot.worker
            if worker is None:
                self._touch(slot)
            elif worker.deadline is not None and worker.deadline <= now:
                if worker.phase is Phase.KILLED:
                    self._still_there(worker, now)
                else:
                    self._kill(worker, Reason.STOP_TIMEOUT, now)

    def _still_there(self, worker: Worker, now: int) -> None:
        slot = worker.slot
        notice = Unkillable(worker.key, slot.service.key, slot.worker_id, self.stopping)
        self._effects.append(notice)
        if self.stopping:
            self._status = 1
            self._leave(worker)
        else:
            # One live worker per slot: no replacement while it is there.
            self._effects.append(Kill(worker.key, worker.cause or Reason.STOP_TIMEOUT))
            self._set_deadline(worker, now + 20 * UNKILLABLE)

    # 3. Settle

    def _settle(self, slot: Slot, now: int) -> None:
        worker = slot.worker
        if self._aborted:
            if worker is not None and worker.phase < Phase.KILLED:
                self._kill(worker, Reason.ABORTED, now)
        elif self.stopping or not slot.wanted:
            if worker is not None and worker.phase < Phase.STOPPING:
                self._terminate(
                    worker, Reason.STOPPED if self.stopping else Reason.SCALED_DOWN, now
                )
        elif worker is None:
            if slot.not_before <= now:
                self._startable[slot] = None
            else:
                self._hint(slot.not_before, slot)

    # 4. Roll

    def _roll(self, service: ServiceState, now: int) -> None:
        if self.stopping or not service.rolling:
            return
        target = service.generation
        behind = False
        spare = service.policy.rollout.allowed(service.wanted) - service.wanted + service.ready
        for slot in service.slots:
            worker = slot.worker
            if worker is None or worker.generation >= target or worker.phase >= Phase.STOPPING:
                continue
            behind = True
            if worker.reloads is None:
                continue  # it will say when it is ready
            if worker.reloads:
                if worker.told < target:
                    worker.told = target
                    self._effects.append(Reload(worker.key, target))
            elif worker.phase is Phase.STARTING:
                self._terminate(worker, Reason.RELOAD, now)  # costs no capacity
            elif spare > 0:
                spare -= 1
                self._terminate(worker, Reason.RELOAD, now)
        if not behind and service.ready >= service.wanted:
            service.rolling = False
            self._effects.append(RolloutFinished(service.key, target))

    # 5. Start

    def _start(self, now: int) -> None:
        burst = BURST
        while self._startable and self._spawn_at <= now:
            slot, _ = self._startable.popitem(last=False)
            if not slot.wanted:
                continue  # it was scaled away while it waited
            self._spawn(slot, now)
            burst -= 1
            if self._spawn_interval:
                self._spawn_at = now + self._spawn_interval
            elif not burst:
                self._spawn_at = now + 1

    def _spawn(self, slot: Slot, now: int) -> None:
        self._serial += 1
        worker = Worker(self._serial, slot, now)
        self.workers[worker.key] = worker
        slot.worker = worker
        slot.starts += 1
        reason = Reason.WANTED if slot.starts == 1 else Reason.RESPAWN
        self._effects.append(
            Spawn(worker.key, slot.service.key, slot.worker_id, self.grace, reason)
        )

    # 6. Conclude

    def _conclude(self) -> None:
        if self.stopping:
            if not self.workers:
                self.done = True
                self._effects.append(Exit(self._status))
        elif not self._announced and all(s.ready >= s.wanted for s in self.services.values()):
            self._announced = True
            self._effects.append(AllReady())

    # Changes of a worker: the only places that write phase, deadline and the count of ready ones

    def _terminate(self, worker: Worker, reason: Reason, now: int) -> None:
        worker.cause = reason
        grace = bounded(worker.grace, self.grace)
        deadline = self._earlier(now + grace + MARGIN if grace else None, self._stop_at)
        self._enter(worker, Phase.STOPPING, deadline, now)
        self._effects.append(Terminate(worker.key, reason))

    def _kill(self, worker: Worker, reason: Reason, now: int) -> None:
        worker.cause = reason
        self._enter(worker, Phase.KILLED, now + UNKILLABLE, now)
        self._effects.append(Kill(worker.key, reason))

    def _enter(self, worker: Worker, phase: Phase, deadline: int | None, now: int) -> None:
        service = worker.slot.service
        service.ready += (phase is Phase.READY) - (worker.phase is Phase.READY)
        worker.phase = phase
        worker.since = now
        self._set_deadline(worker, deadline)

    def _leave(self, worker: Worker) -> None:
        worker.slot.service.ready -= worker.phase is Phase.READY
        worker.slot.worker = None
        del self.workers[worker.key]

    def _set_deadline(self, worker: Worker, deadline: int | None) -> None:
        if deadline is not None and deadline != worker.deadline:
            self._hint(deadline, worker.slot)
        worker.deadline = deadline

    def _hint(self, when: int, slot: Slot) -> None:
        self._serial += 1
        heappush(self._hints, (when, self._serial, slot))

    @staticmethod
    def _earlier(one: int | None, other: int | None) -> int | None:
        if one is None or other is None:
            return other if one is None else one
        return min(one, other)
