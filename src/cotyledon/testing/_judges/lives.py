"""The life of a worker: started, ready, told to stop, killed, gone, in this order.

Responsible for what holds for any worker, whatever its service's policy.
"""

from collections.abc import Sequence

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Reason
from cotyledon.testing._books import SECOND, Books, ServiceBook, Violation, WorkerBook
from cotyledon.testing._judges import Judge

BURST = 8
KILLED_AFTER = SECOND // 2


class Lives(Judge):
    """Judges starts, ends and what lies between."""

    def __init__(self, books: Books) -> None:
        super().__init__(books)
        self.just_ready: set[int] = set()  # in this step, and not yet called so
        self.maturing: list[WorkerBook] = []  # ready, and not yet for long enough
        self._leaving: list[ServiceBook] = []  # removed, and not yet called gone
        self._last_spawn = -(10**18)
        self._burst = 0

    # Events

    def _added(self, now: int, event: ev.ServiceAdded) -> None:
        service = self.books.services[event.service] = ServiceBook(event)
        service.asked_at = now
        for key in event.after:
            one = self.books.services[key]
            service.after.append(one)
            for other in self.books.services.values():
                before = other is one or one in other.later
                if before and service not in other.later:
                    other.later.append(service)

    def _scaled(self, now: int, event: ev.ScaleRequested) -> None:
        for service in self.books.asked(event.service):
            service.forgive(now)
            service.want(event.wanted)

    def _changed(self, now: int, event: ev.ServiceChanged) -> None:
        for service in self.books.asked(event.service):
            service.change(event, now)

    def _removed(self, now: int, event: ev.ServiceRemoved) -> None:
        for service in self.books.asked(event.service):
            service.want(0)
            service.removed = True
            service.rolling = False
            self._leaving.append(service)

    def _ready(self, now: int, event: ev.Ready) -> None:
        worker = self.books.workers.get(event.worker)
        if worker is None:
            return
        worker.grace = event.grace
        if worker.ready_at is None and not worker.ending:
            worker.ready_at = worker.beat = now
            worker.reloads = worker.service.reloads = event.reloads
            self.just_ready.add(event.worker)
            self.maturing.append(worker)

    def _reloaded(self, now: int, event: ev.Reloaded) -> None:
        worker = self.books.workers.get(event.worker)
        if worker is not None:
            worker.grace = event.grace

    def _grace(self, now: int, event: ev.GraceChanged) -> None:
        self.books.grace = event.grace

    # Effects

    def _spawn(self, now: int, effect: fx.Spawn) -> None:
        books = self.books
        if books.asked_at is not None:
            raise Violation("a spawn after a stop began")
        if effect.worker in books.workers or effect.worker in books.gone:
            raise Violation(f"worker {effect.worker} was used before")
        if effect.grace != books.grace:
            raise Violation("a worker was told a wrong graceful timeout")
        self._check_pace(now)
        service = books.services[effect.service]
        slot = effect.worker_id
        if slot >= service.wanted:
            raise Violation(f"slot {slot} of {service.wanted} wanted was filled")
        first = slot not in service.started
        if first and any(i not in service.started for i in range(slot)):
            raise Violation(f"slot {slot} was first started before a lower one")
        beside = slot in service.slots and not service.slots[slot][0].superseded
        reason = Reason.WANTED if first else Reason.RESPAWN
        if effect.reason is not (Reason.SUCCESSOR if beside else reason):
            raise Violation(f"a spawn has the reason {effect.reason}")
        service.started.add(slot)
        worker = WorkerBook(effect.worker, service, slot, now)
        workers = service.slots.setdefault(slot, [])
        workers.insert(len(workers) if beside else 0, worker)
        books.workers[effect.worker] = worker

    def _check_pace(self, now: int) -> None:
        if self.books.spawn_interval:
            if now - self._last_spawn < self.books.spawn_interval:
                raise Violation("two spawns without the pause between them")
        elif now == self._last_spawn:
            self._burst += 1
            if self._burst > BURST:
                raise Violation("too many spawns at one instant")
        else:
            self._burst = 1
        self._last_spawn = now

    def _terminate(self, now: int, effect: fx.Terminate) -> None:
        worker = self.books.known(effect.worker, "Terminate")
        service = worker.service
        if (
            effect.reason is Reason.SCALED_DOWN
            and service.removed
            and any(one.slots for one in service.later)
        ):
            raise Violation("a removed service was stopped before those that come after it")
        worker.told_at = now
        worker.why = effect.reason
        worker.limit = min((g for g in (worker.grace, self.books.grace) if g), default=0)
        self._step_aside(worker)

    def _kill(self, now: int, effect: fx.Kill) -> None:
        books = self.books
        worker = books.known(effect.worker, "Kill")
        if books.stop_at is not None and now >= books.stop_at:
            books.late_kill = True
        if worker.killed:
            return  # again, because it is still there
        worker.killed = True
        worker.why = effect.reason
        if books.aborted:
            return
        if worker.told_at is None:
            if effect.reason not in {Reason.WATCHDOG, Reason.START_TIMEOUT}:
                raise Violation("a worker was killed that was not told to stop")
            self._step_aside(worker)
            return
        due = self._due(worker)
        if due is None or now < due:
            raise Violation(f"worker {effect.worker} was killed before its deadline")
        if effect.reason is not Reason.STOP_TIMEOUT:
            raise Violation(f"a worker that was told to stop was killed for {effect.reason}")

    @staticmethod
    def _step_aside(worker: WorkerBook) -> None:
        workers = worker.service.slots[worker.slot]
        if workers[0] is not worker:
            worker.superseded = True

    def _due(self, worker: WorkerBook) -> int | None:
        """When a worker that was told to stop may be killed."""
        assert worker.told_at is not None
        stop_at = self.books.stop_at
        bounds = [] if stop_at is None else [stop_at]
        if worker.limit:
            bounds.append(worker.told_at + worker.limit)
        return min(bounds) if bounds else None

    def _worker_ready(self, now: int, effect: fx.WorkerReady) -> None:
        if effect.worker not in self.just_ready:
            raise Violation("a worker was called ready that is not")
        self.just_ready.remove(effect.worker)
        if effect.took != now - self.books.workers[effect.worker].spawned_at:
            raise Violation("a wrong time until readiness was told")

    def _unkillable(self, now: int, effect: fx.Unkillable) -> None:
        books = self.books
        worker = books.known(effect.worker, "Unkillable")
        if not worker.killed:
            raise Violation("a worker was called unkillable that was not killed")
        if effect.left_behind:
            if books.asked_at is None:
                raise Violation("a worker was left behind without a stop")
            del books.workers[effect.worker]
            worker.service.leave(worker)
            books.gone.add(effect.worker)
            books.late_kill = True

    def _gone(self, now: int, effect: fx.ServiceGone) -> None:
        service = self.books.services.pop(effect.service, None)
        if service is None or not service.removed or service.slots:
            raise Violation(f"service {effect.service} was called gone")
        self._leaving.remove(service)
        for one in self.books.services.values():
            if service in one.later:
                one.later.remove(service)

    def _all_ready(self, now: int, effect: fx.AllReady) -> None:
        if self.books.announced:
            raise Violation("AllReady was said twice")
        self.books.announced = True
        if not all(service.complete() for service in self.books.services.values()):
            raise Violation("AllReady was said too early")

    # Moments

    def inspect(self, now: int) -> None:
        """Nobody outlives a deadline."""
        stop_at, punctual = self.books.stop_at, self.books.punctual
        for key, worker in self.books.workers.items():
            if worker.told_at is None or worker.killed:
                continue
            due = self._due(worker)
            if due is not None and now > due + KILLED_AFTER + punctual:
                raise Violation(f"worker {key} has outlived its deadline")
            if stop_at is not None and now > stop_at + punctual:
                raise Violation(f"worker {key} has outlived the stop")

    def after(self, now: int, events: Sequence[ev.Event]) -> None:
        """What is ready was called so, and what is not wanted was told."""
        if self.just_ready:
            raise Violation(f"it was not told that {sorted(self.just_ready)} are ready")
        self.mature(now)
        books = self.books
        for service in self._leaving:
            if not service.slots and books.exit is None:
                raise Violation(f"it was not told that service {service.key} is gone")
        if books.asked_at is not None:
            return
        for event in events:
            if type(event) is ev.ScaleRequested:
                for service in books.asked(event.service):
                    self._check_scaled(service)
        for service in self._leaving:
            if not any(one.slots for one in service.later):
                self._check_scaled(service)
        if not books.announced and all(s.complete() for s in books.services.values()):
            raise Violation("AllReady was not said")

    @staticmethod
    def _check_scaled(service: ServiceBook) -> None:
        for slot, workers in service.slots.items():
            if slot >= service.wanted and any(not worker.ending for worker in workers):
                raise Violation(f"slot {slot} of {service.wanted} wanted lives on")

    def mature(self, now: int, only: int | None = None) -> None:
        """A successor that has been ready for long enough takes its place; that is progress."""
        waiting = []
        for worker in self.maturing:
            if worker.ending or worker.key not in self.books.workers:
                continue
            if only not in {None, worker.key}:
                waiting.append(worker)
            elif worker.counts(now):
                assert worker.ready_at is not None
                service = worker.service
                if worker.generation == service.generation:
                    since = worker.ready_at + worker.min_ready
                    service.progress_at = max(service.progress_at, since)
                workers = service.slots.get(worker.slot, ())
                if len(workers) == 2 and workers[1] is worker:
                    service.supersede(workers[0])
            else:
                waiting.append(worker)
        self.maturing = waiting

    EVENTS = {  # noqa: RUF012 - declared by the base class
        ev.ServiceAdded: _added,
        ev.ServiceChanged: _changed,
        ev.ServiceRemoved: _removed,
        ev.ScaleRequested: _scaled,
        ev.Ready: _ready,
        ev.Reloaded: _reloaded,
        ev.GraceChanged: _grace,
    }
    EFFECTS = {  # noqa: RUF012 - declared by the base class
        fx.Spawn: _spawn,
        fx.Terminate: _terminate,
        fx.Kill: _kill,
        fx.WorkerReady: _worker_ready,
        fx.Unkillable: _unkillable,
        fx.ServiceGone: _gone,
        fx.AllReady: _all_ready,
    }
