"""The state machine: ``step(now, events)`` returns effects.

Responsible for the order in which decisions are made. Never performs one. Longer than other files,
because whoever reads it must see what each event does.

The rules, in the order in which a step applies them:

1. *Record.* An event handler writes down a fact or a wish and touches the slots concerned.
2. *Expire.* A phase that outlived its deadline goes on to the next one, the last one is KILL; a
   worker that has to be looked at is looked at; a rollout without progress has failed.
3. *Open.* A service whose predecessors are ready may start.
4. *Settle.* A touched slot that is not wanted loses its worker, unless services that come
   after have to stop first; one that is wanted and empty is queued, at once or at the end of
   its back-off.
5. *Roll.* A service behind its generation, or with workers to replace, reloads in place, or
   replaces as many as its rollout allows.
6. *Start.* Queued slots get workers, a few at each instant, so that nothing that happens
   meanwhile has to wait for a long row of forks.
7. *Conclude.* A significant service that is done ends the manager; one that was removed and has
   no worker left is forgotten; a stop with no worker left is an exit; a start with every worker
   ready is news.

The moves are in ``board``, deaths in ``deaths``, looking after what lives in ``health``.

A step leaves nothing to do at the same instant: a second one returns no effect, and
:meth:`Core.next_deadline` is later than ``now``. Deadlines are fields of slots, workers and
services; the heap holds hints to them, and a hint that does not match its field is dropped.
"""

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop
from typing import Any, ClassVar

from cotyledon._core import deaths, health, rollout
from cotyledon._core.board import SECOND, UNKILLABLE, Board, Timed, earlier
from cotyledon._core.effects import (
    AllReady,
    Effect,
    Escalation,
    Exit,
    Kill,
    Reason,
    ServiceGone,
    Unkillable,
)
from cotyledon._core.events import (
    AbortRequested,
    Event,
    Exited,
    Extended,
    GraceChanged,
    Heartbeat,
    HurryRequested,
    Measured,
    Ready,
    Reloaded,
    ReloadRequested,
    RestartRequested,
    ScaleRequested,
    ServiceAdded,
    ServiceChanged,
    ServiceRemoved,
    SpawnFailed,
    StopRequested,
)
from cotyledon._core.state import Ending, Phase, ServiceState, Slot, Worker

BURST = 16
"""Workers started at one instant when there is no pause between spawns."""
HURRY = SECOND
"""What is left of a graceful stop when somebody asks a second time."""
IN_ORDER = 3, 4
"""The part of a bounded stop for which services wait for those that come after them."""
TRACE_KEPT = 256


class Core(Board):
    """What is wanted, what is there, and what follows from it.

    Args:
        grace: the manager's graceful timeout (0: none).
        spawn_interval: the pause between two spawns (0: none).
        chance: returns a number in [0, 1), for jitter.
    """

    def __init__(self, *, grace: int, spawn_interval: int, chance: Callable[[], float]) -> None:
        super().__init__(grace=grace, chance=chance)
        self.done = False
        self.trace: deque[tuple[int, tuple[Event, ...], tuple[Effect, ...]]] = deque(
            maxlen=TRACE_KEPT
        )
        self._spawn_interval = spawn_interval
        self._spawn_at = 0  # the next instant at which something may be started
        self._aborted = False
        self._announced = False  # AllReady was said
        self._closed: dict[ServiceState, None] = {}  # not started: those before are not ready
        self._removed: dict[ServiceState, None] = {}  # to be forgotten, once nothing is left
        self._ordered = False  # some service comes after another one, and that still counts
        self._order_until: int | None = None  # the instant from which it does not

    def step(self, now: int, events: Iterable[Event] = ()) -> list[Effect]:
        """Take in what happened, and return what is to be done about it, in order."""
        if self.done:
            return []
        events = tuple(events)
        effects = self.effects = []
        for event in events:
            self.record(now, event)
        self._expire(now)
        if self._closed:
            self._open(now)
        significant: dict[ServiceState, None] = {}
        for slot in self.touched:
            self._settle(slot, now)
            if slot.service.policy.significant:
                significant[slot.service] = None
        self.touched.clear()
        for service in self.to_roll:
            rollout.roll(self, service, now)
        self.to_roll.clear()
        self._start(now)
        self._conclude(significant)
        if events or effects:
            self.trace.append((now, events, tuple(effects)))
        return effects

    def record(self, now: int, event: Event) -> None:
        """Take one event in, and leave what follows from it to the next step."""
        self._RECORD[type(event)](self, event, now)

    def next_deadline(self) -> int | None:
        """Return the instant of the next step that is due without an event, if any."""
        hints = [] if self.done else self.hints
        while hints and not self._holds(hints[0][0], hints[0][2]):
            heappop(hints)
        deadline = hints[0][0] if hints else None
        if self.startable:
            deadline = earlier(deadline, self._spawn_at)
        return None if self.done else earlier(deadline, self._order_until)

    def _holds(self, when: int, owner: Timed) -> bool:
        """Tell whether a hint still matches the field that it was made for."""
        if isinstance(owner, Worker):
            return owner.deadline == when
        if isinstance(owner, Slot):
            waits = owner.worker is None or (owner.second is None and owner.service.to_replace)
            return (
                owner.not_before == when
                and waits
                and owner.startable
                and not (self.stopping or self.escalated)
            )
        return owner.progress_by == when and not self.stopping

    # 1. Record

    def _on_added(self, event: ServiceAdded, now: int) -> None:
        service = ServiceState(event.service, 0, event.grace, event.reloads, event.policy)
        for number in event.after:
            one = self.services[number]
            service.after.append(one)
            service.above |= one.above
            service.above[one] = None
            service.open = False
        for one in service.above:
            one.below.append(service)
        if event.after:
            self._ordered = True
            self._closed[service] = None
        self.services[event.service] = service
        self.want(service, event.wanted)

    def _on_changed(self, event: ServiceChanged, now: int) -> None:
        for service in self._those(event.service):
            service.grace = event.grace
            service.reloads = event.reloads
            service.policy = event.policy
            # What has done its work does it again only if it is never done.
            anew = service.slots if event.policy.restart == "always" else ()
            deaths.forgive(self, service, anew)
            self.recall(service)
            rollout.progress(self, service, now)
            self.touch_all(service)

    def _on_removed(self, event: ServiceRemoved, now: int) -> None:
        for service in self._those(event.service):
            service.removed = True
            service.rolling = False
            self._removed[service] = None
            self.want(service, 0)

    def _on_scale(self, event: ScaleRequested, now: int) -> None:
        for service in self._those(event.service):
            deaths.forgive(self, service)
            self.want(service, event.wanted)
            rollout.progress(self, service, now)

    def _on_reload(self, event: ReloadRequested, now: int) -> None:
        for service in self._those(event.service):
            deaths.forgive(self, service)
            rollout.begin(self, service, now, renew=False)

    def _on_restart(self, event: RestartRequested, now: int) -> None:
        for service in self._those(event.service):
            if event.worker_id is None:
                deaths.forgive(self, service, service.slots)
                rollout.begin(self, service, now, renew=True)
                continue
            slots = service.slots[event.worker_id : event.worker_id + 1]
            deaths.forgive(self, service, slots)
            for slot in slots if not self.stopping else ():
                self.empty(slot, Reason.RESTART, now)

    def _those(self, service: int | None) -> Iterable[ServiceState]:
        """Return the services that a wish is about: none, if it has been removed meanwhile."""
        if service is None:
            return [one for one in self.services.values() if not one.removed]
        one = self.services.get(service)
        return () if one is None or one.removed else (one,)

    def _on_grace(self, event: GraceChanged, now: int) -> None:
        self.grace = event.grace

    def _on_stop(self, event: StopRequested, now: int) -> None:
        within = self.grace if event.within is None else event.within
        self._begin_stop()
        if within:
            self._bound_stop(now + within)
            if self._ordered:
                share, whole = IN_ORDER
                self._order_until = earlier(self._order_until, now + within * share // whole + 1)

    def _on_hurry(self, event: HurryRequested, now: int) -> None:
        self._begin_stop()
        self._end_order()
        self._bound_stop(now + HURRY)

    def _on_abort(self, event: AbortRequested, now: int) -> None:
        self._begin_stop()
        self._end_order()
        self._bound_stop(now)
        self._aborted = True
        self.status = 1

    def _on_ready(self, event: Ready, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.grace = event.grace
        if worker.phase is not Phase.STARTING:
            return
        worker.reloads = worker.slot.service.reloads = event.reloads
        health.ready(self, worker, now)
        self.touch(worker.slot)

    def _on_extended(self, event: Extended, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            health.extended(self, worker, event.by, now)

    def _on_heartbeat(self, event: Heartbeat, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            health.heard(self, worker, event.at, now)

    def _on_measured(self, event: Measured, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            health.measured(self, worker, event.private)

    def _on_reloaded(self, event: Reloaded, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.grace = event.grace
        if event.generation > worker.generation:
            worker.generation = event.generation
            if worker.generation == worker.slot.service.generation:
                rollout.progress(self, worker.slot.service, now)
        self.touch(worker.slot)

    def _on_exited(self, event: Exited, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        if self.stop_at is not None and now >= self.stop_at:
            self.status = 1  # it was killed for that, or would have been
        deaths.bury(self, worker, event, now)

    def _on_spawn_failed(self, event: SpawnFailed, now: int) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            deaths.bury(self, worker, None, now)

    _RECORD: ClassVar[dict[type, Callable[[Any, Any, int], None]]] = {
        ServiceAdded: _on_added,
        ServiceChanged: _on_changed,
        ServiceRemoved: _on_removed,
        ScaleRequested: _on_scale,
        ReloadRequested: _on_reload,
        RestartRequested: _on_restart,
        GraceChanged: _on_grace,
        StopRequested: _on_stop,
        HurryRequested: _on_hurry,
        AbortRequested: _on_abort,
        Ready: _on_ready,
        Extended: _on_extended,
        Heartbeat: _on_heartbeat,
        Measured: _on_measured,
        Reloaded: _on_reloaded,
        Exited: _on_exited,
        SpawnFailed: _on_spawn_failed,
    }

    def _begin_stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            self.startable.clear()
            for worker in self.workers.values():
                self.touch(worker.slot)

    def _bound_stop(self, deadline: int) -> None:
        """Let the stop, and every stop of a worker that goes on already, end by ``deadline``."""
        if self.stop_at is None or deadline < self.stop_at:
            self.stop_at = deadline
        for worker in self.workers.values():
            if worker.phase is Phase.STOPPING:
                self.set_deadline(worker, earlier(worker.deadline, self.stop_at))
            elif worker.phase is Phase.KILLED:
                given_up = self.stop_at + UNKILLABLE
                self.set_deadline(worker, earlier(worker.deadline, given_up))

    def _end_order(self) -> None:
        """From now on, no service waits for another one to stop."""
        self._ordered = False
        self._order_until = None
        for worker in self.workers.values():
            self.touch(worker.slot)

    # 2. Expire

    def _expire(self, now: int) -> None:
        hints = self.hints
        while hints and hints[0][0] <= now:
            owner = heappop(hints)[2]
            if isinstance(owner, Worker):
                if owner.deadline is not None and owner.deadline <= now:
                    self._end_phase(owner, now)
            elif isinstance(owner, Slot):
                self.touch(owner)
            elif owner.progress_by is not None and owner.progress_by <= now and not self.stopping:
                rollout.fail(self, owner, now, gave_up=False)
        if self._order_until is not None and self._order_until <= now:
            self._end_order()

    def _end_phase(self, worker: Worker, now: int) -> None:
        if worker.phase < Phase.STOPPING:
            health.look(self, worker, now)
        elif worker.phase is Phase.STOPPING:
            self.kill(worker, Reason.STOP_TIMEOUT, now)
        else:
            self._still_there(worker, now)

    def _still_there(self, worker: Worker, now: int) -> None:
        slot = worker.slot
        notice = Unkillable(worker.key, slot.service.key, slot.worker_id, self.stopping)
        self.effects.append(notice)
        if self.stopping:
            self.status = 1
            self.leave(worker)
        else:
            # One live worker per slot: no replacement while it is there.
            self.effects.append(Kill(worker.key, worker.cause or Reason.STOP_TIMEOUT))
            self.set_deadline(worker, now + 20 * UNKILLABLE)

    # 3. Open

    def _open(self, now: int) -> None:
        for service in list(self._closed):
            if all(one.open and one.complete for one in service.after):
                del self._closed[service]
                service.open = True
                rollout.progress(self, service, now)
                self.touch_all(service)

    # 4. Settle

    def _settle(self, slot: Slot, now: int) -> None:
        if self._aborted:
            for worker in (slot.worker, slot.second):
                if worker is not None and worker.phase < Phase.KILLED:
                    self.kill(worker, Reason.ABORTED, now)
        elif self.stopping or not slot.wanted:
            slot.surging = False
            waits = self._ordered if self.stopping else slot.service.removed
            if waits and any(one.alive for one in slot.service.below):
                return
            self.empty(slot, Reason.STOPPED if self.stopping else Reason.SCALED_DOWN, now)
        elif slot.worker is None and slot.startable and not self.escalated:
            if slot.second is not None and not rollout.surges(slot.service):
                return  # its policy has changed: one after the other from now on
            if slot.not_before <= now:
                self.startable[slot] = None
            else:
                self.hint(slot.not_before, slot)

    # 6. Start

    def _start(self, now: int) -> None:
        burst = BURST
        while self.startable and self._spawn_at <= now:
            slot, _ = self.startable.popitem(last=False)
            if not slot.startable or (slot.worker is not None and not slot.surging):
                slot.surging = False
                continue  # it was scaled away, given up or filled while it waited
            self.spawn(slot, now)
            burst -= 1
            if self._spawn_interval:
                self._spawn_at = now + self._spawn_interval
            elif not burst:
                self._spawn_at = now + 1

    # 7. Conclude

    def _conclude(self, significant: Iterable[ServiceState]) -> None:
        for service in significant:
            if deaths.is_done(service):
                failed = service.gave_up or any(
                    slot.ending is Ending.FAILED for slot in service.slots
                )
                self.escalate(service, int(failed), Escalation.DONE)
        for service in [one for one in self._removed if not one.alive]:
            self._forget(service)
        if self.stopping:
            if not self.workers:
                self.done = True
                self.effects.append(Exit(self.status))
        elif not self._announced and all(s.complete for s in self.services.values()):
            self._announced = True
            self.effects.append(AllReady())

    def _forget(self, service: ServiceState) -> None:
        del self._removed[service], self.services[service.key]
        self._closed.pop(service, None)
        service.progress_by = None
        for one in service.above:
            one.below.remove(service)
        self.effects.append(ServiceGone(service.key))
