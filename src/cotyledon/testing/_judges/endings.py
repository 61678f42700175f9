"""What follows from the end of a worker: another one, after a wait, or nothing.

Responsible for the restart policy, the back-off, the intensity and significant services.
"""

from collections.abc import Sequence

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Escalation, Reason
from cotyledon.testing._books import SECOND, Books, ServiceBook, Violation, WorkerBook
from cotyledon.testing._judges import Judge

FAULTS = {Reason.WATCHDOG, Reason.START_TIMEOUT}


class Verdict:
    """What must be said about one end, and what it may cost."""

    __slots__ = ("gave_up", "longest", "reason", "respawns", "rollout_failed", "worker")

    def __init__(self, worker: WorkerBook, reason: Reason) -> None:
        self.worker = worker
        self.reason = reason
        self.longest = 0.0  # seconds that its slot may wait
        self.gave_up: list[int | None] = []  # the slot; None: the service
        self.rollout_failed = False
        self.respawns = False


class Endings(Judge):
    """Judges what follows from an end."""

    def __init__(self, books: Books) -> None:
        super().__init__(books)
        self.verdict: Verdict | None = None  # on the worker whose end is being told
        self._said: list[int | None] = []
        self._stops: list[int] = []  # services whose failures must stop the manager

    # Events

    def _ended(self, now: int, event: ev.Exited | ev.SpawnFailed) -> None:
        books = self.books
        worker = books.workers.pop(event.worker, None)
        if worker is None:
            return
        service = worker.service
        service.leave(worker)
        books.gone.add(worker.key)
        if books.stop_at is not None and now >= books.stop_at and type(event) is ev.Exited:
            books.late_kill = True
        verdict = self.verdict = Verdict(worker, self._reason(worker, event))
        own = not worker.ending
        fault = worker.killed and worker.why in FAULTS
        if own or fault:
            self._back_off(verdict, now)
        elif not worker.superseded:
            service.not_before.pop(worker.slot, None)
            service.start_by[worker.slot] = now
        if isinstance(event, ev.Exited) and (own or fault) and books.asked_at is None:
            self._judge(verdict, event.status, own, now)
        verdict.respawns = (
            self._may_start(service, worker.slot)
            and not any(not other.superseded for other in service.slots.get(worker.slot, ()))
            and books.asked_at is None
            and books.escalated is None
            and not self._stops
        )

    @staticmethod
    def _reason(worker: WorkerBook, event: ev.Exited | ev.SpawnFailed) -> Reason:
        if isinstance(event, ev.SpawnFailed):
            return Reason.SPAWN_FAILED
        if worker.why is not None:
            return worker.why
        if event.dumped:
            return Reason.CORE_DUMP
        if event.out_of_memory:
            return Reason.OUT_OF_MEMORY
        return Reason.EXIT if event.status is None or event.status >= 0 else Reason.SIGNAL

    @staticmethod
    def _may_start(service: ServiceBook, slot: int) -> bool:
        ended = slot in service.ended or service.gave_up
        return slot < service.wanted and service.opened and not ended

    @staticmethod
    def _back_off(verdict: Verdict, now: int) -> None:
        worker = verdict.worker
        service = worker.service
        backoff = service.policy.backoff
        row = service.deaths.setdefault(worker.slot, [])
        lived = 0 if worker.ready_at is None else now - worker.ready_at
        for _ in range(int(lived / SECOND / backoff.forgive + 1e-9)):
            if not row:
                break
            row.pop()
        row.append(now)
        wait = 0.0
        if len(row) >= 2:
            wait = backoff.initial
            for _ in range(min(len(row) - 2, 100)):
                wait = min(wait * backoff.factor, backoff.cap)
            verdict.longest = min(wait, backoff.cap)
            wait = verdict.longest * (1 - backoff.jitter)
        service.not_before[worker.slot] = now + int(wait * SECOND) - 1000
        service.start_by[worker.slot] = now + int(verdict.longest * SECOND) + 1000

    def _judge(self, verdict: Verdict, status: int | None, own: bool, now: int) -> None:
        worker = verdict.worker
        service, slot = worker.service, worker.slot
        policy = service.policy
        success = own and status in policy.success
        hopeless = own and status in policy.no_retry
        beside = [other for other in service.slots.get(slot, ()) if not other.superseded]
        if beside or worker.superseded:
            fresh = worker.generation == service.generation
            verdict.rollout_failed = hopeless and fresh and service.rolling
            successor = bool(beside) and beside[0].key < worker.key
            if hopeless and fresh and successor:
                service.barren.add(slot)
        elif slot < service.wanted:
            if hopeless:
                service.ended[slot] = False
                verdict.gave_up.append(slot)
            elif policy.restart == "never" or (success and policy.restart == "on-failure"):
                service.ended[slot] = success
            if service.ended.get(slot) is False:
                verdict.rollout_failed = service.rolling
        if success or policy.intensity is None or service.gave_up:
            return
        service.failures.append(now)
        within = round(policy.intensity.within * SECOND)
        recent = sum(now - when < within for when in service.failures)
        if recent > policy.intensity.failures:
            service.gave_up = True
            verdict.gave_up.append(None)
            verdict.rollout_failed = verdict.rollout_failed or service.rolling
            if policy.intensity.then == "stop" and self.books.escalated is None:
                self._stops.append(service.key)

    # Effects

    def _spawn(self, now: int, effect: fx.Spawn) -> None:
        service = self.books.services[effect.service]
        slot = effect.worker_id
        if self.books.escalated is not None:
            raise Violation("a spawn after a service has asked for a stop")
        if service.gave_up:
            raise Violation("a spawn for a service that was given up")
        if slot in service.ended:
            raise Violation(f"slot {slot} has ended for good, and was filled")
        if effect.reason is not Reason.SUCCESSOR:
            service.barren.discard(slot)
        elif slot in service.barren:
            raise Violation(f"slot {slot} gets a successor though the last one had to be the last")
        if now < service.not_before.get(slot, now):
            raise Violation(f"slot {slot} did not wait out its back-off")

    def _gave_up(self, now: int, effect: fx.GaveUp) -> None:
        verdict = self.verdict
        if verdict is None or effect.service != verdict.worker.service.key:
            raise Violation("a service was given up without a death")
        self._said.append(effect.worker_id)

    def _rollout_failed(self, now: int, effect: fx.RolloutFailed) -> None:
        if effect.gave_up:
            verdict = self.verdict
            if verdict is None or not verdict.rollout_failed:
                raise Violation("a rollout was called given up that was not")
            verdict.rollout_failed = False

    def _worker_died(self, now: int, effect: fx.WorkerDied) -> None:
        verdict = self.verdict
        if verdict is None or verdict.worker.key != effect.worker:
            raise Violation(f"the death of worker {effect.worker} came from nowhere")
        self.verdict = None
        worker = verdict.worker
        if effect.reason is not verdict.reason:
            raise Violation(f"a death was told as {effect.reason}, not as {verdict.reason}")
        if effect.respawn_in is None or not verdict.respawns:
            if verdict.respawns != (effect.respawn_in is not None):
                raise Violation(f"a death was told with the wait {effect.respawn_in}")
        elif effect.respawn_in > verdict.longest * SECOND + 1000:
            raise Violation(f"a wait of {effect.respawn_in} ns, for {verdict.longest} s")
        if effect.stopping != (self.books.asked_at is not None):
            raise Violation("a death was told with a wrong 'stopping'")
        if effect.failures != len(worker.service.deaths.get(worker.slot, ())):
            raise Violation(f"a death was told with {effect.failures} failures")
        if effect.uptime != now - worker.spawned_at:
            raise Violation("a death was told with a wrong uptime")
        if self._said != verdict.gave_up:
            raise Violation(f"{self._said} was given up, not {verdict.gave_up}")
        self._said = []
        if verdict.rollout_failed:
            raise Violation("it was not told that a rollout is given up")
        if self._stops:
            raise Violation("too many failures did not stop the manager")

    def _stop_manager(self, now: int, effect: fx.StopManager) -> None:
        books = self.books
        if books.asked_at is not None or books.escalated is not None:
            raise Violation("the manager was asked to stop again")
        books.escalated = effect.status
        service = books.services[effect.service]
        if effect.reason is Escalation.INTENSITY:
            if self._stops != [service.key] or effect.status != 1:
                raise Violation("the manager was stopped for failures that were not too many")
            self._stops = []
            return
        if not service.policy.significant or not service.is_done():
            raise Violation("the manager was stopped for a service that is not done")
        if effect.status != int(service.gave_up or not all(service.ended.values())):
            raise Violation(f"a significant service is done with the status {effect.status}")

    # Moments

    def inspect(self, now: int) -> None:
        """A slot that is wanted and has waited for long enough has a worker."""
        books = self.books
        if books.asked_at is not None or books.escalated is not None:
            return
        patience = books.patience
        for service in books.services.values():
            if service.opened and not service.gave_up and now > service.asked_at + patience:
                for slot in range(service.wanted):
                    due = service.start_by.get(slot, service.asked_at)
                    empty = slot not in service.slots and slot not in service.ended
                    if empty and now > due + patience:
                        raise Violation(f"slot {slot} was not started")

    def after(self, now: int, events: Sequence[ev.Event]) -> None:
        """A significant service that is done has stopped the manager."""
        books = self.books
        if books.asked_at is None and books.escalated is None:
            for service in books.services.values():
                if service.policy.significant and service.is_done():
                    raise Violation(f"service {service.key} is done, and nothing follows")

    EVENTS = {ev.Exited: _ended, ev.SpawnFailed: _ended}  # noqa: RUF012 - declared by the base
    EFFECTS = {  # noqa: RUF012 - declared by the base class
        fx.Spawn: _spawn,
        fx.GaveUp: _gave_up,
        fx.RolloutFailed: _rollout_failed,
        fx.WorkerDied: _worker_died,
        fx.StopManager: _stop_manager,
    }
