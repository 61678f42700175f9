"""The invariants, checked from the outside on every step.

Responsible for judging what the core answers: it sees only the instants, the events and the
effects, and keeps books of its own. So it judges a simulated run and a recorded real one alike.
Never looks into the core, and never uses the core's arithmetic.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Reason
from cotyledon.testing._books import ServiceBook, Violation, WorkerBook

SECOND = 1_000_000_000
BURST = 8
KILLED_AFTER = SECOND // 2
GIVEN_UP_AFTER = 3 * SECOND


class Referee:
    """Watches a run of the core and raises :class:`Violation` when a promise is broken.

    Args:
        grace: the manager's graceful timeout in nanoseconds.
        spawn_interval: the pause between two spawns in nanoseconds.
        punctual: how late the caller may call the core after a deadline, in nanoseconds.
    """

    def __init__(self, *, grace: int, spawn_interval: int, punctual: int) -> None:
        self.grace = grace
        self.spawn_interval = spawn_interval
        self.punctual = punctual
        self.services: dict[int, ServiceBook] = {}
        self.workers: dict[int, WorkerBook] = {}  # alive as far as the core has been told
        self.gone: set[int] = set()
        self.just_ready: set[int] = set()  # in this step
        self.asked_at: int | None = None  # the stop
        self.stop_at: int | None = None
        self.aborted = False
        self.late_kill = False
        self.announced = False
        self.exit: int | None = None
        self.last_spawn = -(10**18)
        self.burst = 0
        self.died_in_stop: dict[int, bool] = {}  # of workers that died in this step, and
        self.longest_wait: dict[int, float] = {}  # how long their slots wait
        self.forbidden_before: dict[tuple[int, int], int] = {}

    def observe(self, now: int, events: Sequence[ev.Event], effects: Sequence[fx.Effect]) -> None:
        """Judge one step of the core."""
        if self.exit is not None and effects:
            raise Violation(f"effects after the exit: {effects}")
        died: dict[int, ev.Exited | ev.SpawnFailed] = {}
        self.just_ready.clear()
        for event in events:
            self._event(now, event, died)
        for index, effect in enumerate(effects):
            self._EFFECTS[type(effect)](self, now, effect)
            if isinstance(effect, fx.WorkerDied):
                if died.pop(effect.worker, None) is None:
                    raise Violation(f"the death of worker {effect.worker} came from nowhere")
            elif isinstance(effect, fx.Exit) and index != len(effects) - 1:
                raise Violation("Exit is not the last effect")
        if died:
            raise Violation(f"deaths of {sorted(died)} were not told")
        if self.just_ready:
            raise Violation(f"it was not told that {sorted(self.just_ready)} are ready")
        self._after(now, events)

    # Events: what the core has been told

    def _event(
        self, now: int, event: ev.Event, died: dict[int, ev.Exited | ev.SpawnFailed]
    ) -> None:
        match event:
            case ev.ServiceAdded():
                self.services[event.service] = ServiceBook(event)
            case ev.ScaleRequested(key, wanted):
                service = self.services[key]
                service.wanted = wanted
                service.allowed = service.limit()
                self._forgive(service)
            case ev.ReloadRequested():
                for service in self.services.values():
                    service.generation += 1
                    self._forgive(service)
            case ev.GraceChanged(grace):
                self.grace = grace
            case ev.StopRequested(within):
                self._stop(now, self.grace if within is None else within)
            case ev.HurryRequested():
                self._stop(now, SECOND)
            case ev.AbortRequested():
                self._stop(now, 1)
                self.aborted = True
            case ev.Ready(key, reloads, grace):
                worker = self.workers.get(key)
                if worker is not None:
                    worker.grace = grace
                    if worker.ready_at is None and worker.told_at is None and not worker.killed:
                        worker.ready_at = now
                        self.just_ready.add(key)
                        worker.reloads = worker.service.reloads = reloads
            case ev.Reloaded(key, generation, grace):
                worker = self.workers.get(key)
                if worker is not None:
                    worker.grace = grace
                    worker.generation = max(worker.generation, generation)
            case ev.Exited(key) | ev.SpawnFailed(key):
                worker = self.workers.pop(key, None)
                if worker is not None:
                    died[key] = event
                    self.gone.add(key)
                    self._died(worker, key, now)

    def _forgive(self, service: ServiceBook) -> None:
        service.deaths.clear()
        for slot in list(self.forbidden_before):
            if slot[0] == service.key:
                del self.forbidden_before[slot]

    def _stop(self, now: int, within: int) -> None:
        if self.asked_at is None:
            self.asked_at = now
        if within and (self.stop_at is None or now + within < self.stop_at):
            self.stop_at = now + within

    def _died(self, worker: WorkerBook, key: int, now: int) -> None:
        service = worker.service
        del service.slots[worker.slot]
        if self.stop_at is not None and now >= self.stop_at:
            self.late_kill = True
        self.longest_wait[key] = 0.0
        self.died_in_stop[key] = self.asked_at is not None
        if worker.told_at is not None or worker.killed:
            self.forbidden_before.pop((service.key, worker.slot), None)
            return
        backoff = service.policy.backoff
        row = service.deaths.setdefault(worker.slot, [])
        lived = 0 if worker.ready_at is None else now - worker.ready_at
        for _ in range(int(lived / SECOND / backoff.forgive + 1e-9)):
            if not row:
                break
            row.pop()
        row.append((now, lived))
        wait = 0.0
        if len(row) >= 2:
            wait = backoff.initial
            for _ in range(min(len(row) - 2, 100)):
                wait = min(wait * backoff.factor, backoff.cap)
            wait = min(wait, backoff.cap)
            self.longest_wait[key] = wait
            wait *= 1 - backoff.jitter
        self.forbidden_before[service.key, worker.slot] = now + int(wait * SECOND) - 1000

    # Effects: what it has answered

    def _known(self, key: int, what: str) -> WorkerBook:
        worker = self.workers.get(key)
        if worker is None:
            state = "gone" if key in self.gone else "unknown"
            raise Violation(f"{what} for worker {key}, which is {state}")
        return worker

    def _spawn(self, now: int, effect: fx.Spawn) -> None:
        if self.asked_at is not None:
            raise Violation("a spawn after a stop began")
        service = self.services[effect.service]
        if effect.worker in self.workers or effect.worker in self.gone:
            raise Violation(f"worker {effect.worker} was used before")
        if effect.worker_id in service.slots:
            raise Violation(f"a second live worker in slot {effect.worker_id}")
        if effect.worker_id >= service.wanted:
            raise Violation(f"slot {effect.worker_id} of {service.wanted} wanted was filled")
        if now < self.forbidden_before.get((service.key, effect.worker_id), now):
            raise Violation(f"slot {effect.worker_id} did not wait out its back-off")
        if effect.grace != self.grace:
            raise Violation("a worker was told a wrong graceful timeout")
        if self.spawn_interval:
            if now - self.last_spawn < self.spawn_interval:
                raise Violation("two spawns without the pause between them")
        elif now == self.last_spawn:
            self.burst += 1
            if self.burst > BURST:
                raise Violation("too many spawns at one instant")
        else:
            self.burst = 1
        self.last_spawn = now
        first = effect.worker_id not in service.started
        if first and any(i not in service.started for i in range(effect.worker_id)):
            raise Violation(f"slot {effect.worker_id} was first started before a lower one")
        if first != (effect.reason is Reason.WANTED):
            raise Violation(f"a spawn has the reason {effect.reason}")
        service.started.add(effect.worker_id)
        worker = WorkerBook(service, effect.worker_id, now)
        service.slots[effect.worker_id] = worker
        self.workers[effect.worker] = worker

    def _terminate(self, now: int, effect: fx.Terminate) -> None:
        worker = self._known(effect.worker, "Terminate")
        if worker.told_at is not None or worker.killed:
            raise Violation(f"worker {effect.worker} was told to stop twice")
        service = worker.service
        was_ready = worker.ready_at is not None
        worker.told_at = now
        worker.limit = min((g for g in (worker.grace, self.grace) if g), default=0)
        match effect.reason:
            case Reason.STOPPED if self.asked_at is not None:
                pass
            case Reason.SCALED_DOWN if worker.slot >= service.wanted:
                pass
            case Reason.RELOAD if worker.generation < service.generation:
                if worker.reloads:
                    raise Violation("a worker with its own reload() was restarted")
                if was_ready and service.ready() < service.wanted - service.allowed:
                    raise Violation("a rollout took away more than max_unavailable")
            case reason:
                raise Violation(f"worker {effect.worker} was stopped without cause: {reason}")

    def _reload(self, now: int, effect: fx.Reload) -> None:
        worker = self._known(effect.worker, "Reload")
        if worker.told_at is not None or worker.killed:
            raise Violation("a worker that is ending was told to reload")
        if effect.generation <= max(worker.deaf_to, worker.generation):
            raise Violation("a worker was told twice of one generation")
        if effect.generation != worker.service.generation:
            raise Violation("a worker was told of an old generation")
        if not worker.reloads:
            raise Violation("a worker without its own reload() was told to reload")
        worker.deaf_to = effect.generation

    def _kill(self, now: int, effect: fx.Kill) -> None:
        worker = self._known(effect.worker, "Kill")
        if self.stop_at is not None and now >= self.stop_at:
            self.late_kill = True
        if worker.killed:
            return  # again, because it is still there
        worker.killed = True
        if self.aborted:
            return
        if worker.told_at is None:
            raise Violation("a worker was killed that was not told to stop")
        due = self._due(worker)
        if due is None or now < due:
            raise Violation(f"worker {effect.worker} was killed before its deadline")

    def _due(self, worker: WorkerBook) -> int | None:
        """When a worker that was told to stop may be killed."""
        assert worker.told_at is not None
        bounds = [self.stop_at] if self.stop_at is not None else []
        if worker.limit:
            bounds.append(worker.told_at + worker.limit)
        return min(bounds) if bounds else None

    def _worker_ready(self, now: int, effect: fx.WorkerReady) -> None:
        if effect.worker not in self.just_ready:
            raise Violation("a worker was called ready that is not")
        self.just_ready.remove(effect.worker)

    def _worker_died(self, now: int, effect: fx.WorkerDied) -> None:
        if effect.worker not in self.gone:
            raise Violation("a living worker was called dead")
        longest = self.longest_wait.pop(effect.worker)
        if effect.respawn_in is not None and effect.respawn_in > longest * SECOND + 1000:
            raise Violation(f"a slot waits {effect.respawn_in} ns, at most {longest} s are due")
        if effect.stopping != self.died_in_stop.pop(effect.worker):
            raise Violation("a death was told with a wrong 'stopping'")

    def _all_ready(self, now: int, effect: fx.AllReady) -> None:
        if self.announced:
            raise Violation("AllReady was said twice")
        self.announced = True
        for service in self.services.values():
            if service.ready() < service.wanted:
                raise Violation("AllReady was said too early")

    def _rollout_finished(self, now: int, effect: fx.RolloutFinished) -> None:
        service = self.services[effect.service]
        if effect.generation != service.generation:
            raise Violation("an old rollout was called finished")
        if effect.generation == service.finished:
            raise Violation("a rollout was called finished twice")
        service.finished = effect.generation
        for slot in range(service.wanted):
            worker = service.slots.get(slot)
            if (
                worker is None
                or worker.ready_at is None
                or worker.told_at is not None
                or worker.generation < service.generation
            ):
                raise Violation(f"a rollout was called finished without slot {slot}")

    def _unkillable(self, now: int, effect: fx.Unkillable) -> None:
        worker = self._known(effect.worker, "Unkillable")
        if not worker.killed:
            raise Violation("a worker was called unkillable that was not killed")
        if effect.left_behind:
            if self.asked_at is None:
                raise Violation("a worker was left behind without a stop")
            del self.workers[effect.worker]
            del worker.service.slots[worker.slot]
            self.gone.add(effect.worker)
            self.late_kill = True

    def _exit(self, now: int, effect: fx.Exit) -> None:
        if self.asked_at is None:
            raise Violation("an exit that nobody asked for")
        if self.workers:
            raise Violation(f"an exit with workers left: {sorted(self.workers)}")
        if self.stop_at is not None and now > self.stop_at + GIVEN_UP_AFTER + 2 * self.punctual:
            raise Violation("the exit came after its deadline")
        if effect.status != int(self.aborted or self.late_kill):
            raise Violation(f"the exit status is {effect.status}")
        self.exit = effect.status

    _EFFECTS: ClassVar[dict[type, Callable[[Any, int, Any], None]]] = {
        fx.Spawn: _spawn,
        fx.Terminate: _terminate,
        fx.Reload: _reload,
        fx.Kill: _kill,
        fx.Exit: _exit,
        fx.WorkerReady: _worker_ready,
        fx.WorkerDied: _worker_died,
        fx.AllReady: _all_ready,
        fx.RolloutFinished: _rollout_finished,
        fx.Unkillable: _unkillable,
    }

    # What must hold once the step is done

    def _after(self, now: int, events: Sequence[ev.Event]) -> None:
        if self.asked_at is not None:
            if not self.workers and self.exit is None:
                raise Violation("nothing is left, and there is no exit")
            for key, worker in self.workers.items():
                if worker.told_at is None and not worker.killed:
                    raise Violation(f"worker {key} was not told of the stop")
                if self.aborted and not worker.killed:
                    raise Violation(f"worker {key} was not killed at once")
        self._check_overdue(now)
        if events:
            self._check_wanted()
        if self.asked_at is None and any(type(event) is ev.ReloadRequested for event in events):
            self._check_unbuilt()

    def _check_overdue(self, now: int) -> None:
        for key, worker in self.workers.items():
            if worker.told_at is None or worker.killed:
                continue
            due = self._due(worker)
            if due is not None and now > due + KILLED_AFTER + self.punctual:
                raise Violation(f"worker {key} has outlived its deadline")
            if self.stop_at is not None and now > self.stop_at + self.punctual:
                raise Violation(f"worker {key} has outlived the stop")

    def _check_wanted(self) -> None:
        for service in self.services.values():
            for slot, worker in service.slots.items():
                if slot >= service.wanted and worker.told_at is None and not worker.killed:
                    raise Violation(f"slot {slot} of {service.wanted} wanted lives on")

    def _check_unbuilt(self) -> None:
        for worker in self.workers.values():
            ending = worker.told_at is not None or worker.killed
            behind = worker.generation < worker.service.generation
            if behind and worker.reloads is False and worker.ready_at is None and not ending:
                raise Violation("a worker that is being built is left with an old generation")

    @property
    def settled(self) -> bool:
        """Whether everything wanted is there and current."""
        try:
            self.check_settled()
        except Violation:
            return False
        return True

    def check_settled(self) -> None:
        """After faults have ended and time has passed: everything wanted is there and current.

        Raises:
            Violation: a wanted slot has no ready worker, or one of an old generation.
        """
        for service in self.services.values():
            for slot in range(service.wanted):
                worker = service.slots.get(slot)
                if worker is None or worker.ready_at is None or worker.told_at is not None:
                    raise Violation(f"slot {slot} of service {service.key} is not ready")
                if worker.generation < service.generation:
                    raise Violation(f"slot {slot} of service {service.key} is behind")
            if service.finished < service.generation:
                raise Violation(f"the rollout of service {service.key} was not called finished")
            if len(service.slots) != service.wanted:
                raise Violation(f"service {service.key} has more workers than wanted")
        if not self.announced:
            raise Violation("AllReady was never said")
