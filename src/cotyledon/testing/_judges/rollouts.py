"""Replacing workers: reload, restart, recycling; how many at a time, and how it ends.

Responsible for capacity and surge, for who may be replaced, and for the news of a rollout.
"""

from collections.abc import Sequence

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Reason
from cotyledon.testing._books import SECOND, Books, ServiceBook, Violation, WorkerBook
from cotyledon.testing._judges import Judge

REPLACED = {Reason.RELOAD, Reason.RESTART, Reason.RECYCLED}


class Rollouts(Judge):
    """Judges replacements."""

    def __init__(self, books: Books) -> None:
        super().__init__(books)
        self.restarting: set[int] = set()  # workers that somebody wants to be restarted, now
        self._dropped: set[int] = set()  # services that gave a successor up in this step

    # Events

    def _scaled(self, now: int, event: ev.ScaleRequested) -> None:
        for service in self.books.asked(event.service):
            service.progress_at = now

    def _reload_asked(self, now: int, event: ev.ReloadRequested) -> None:
        for service in self.books.asked(event.service):
            service.forgive(now)
            service.begin_rollout(now)

    def _restart_asked(self, now: int, event: ev.RestartRequested) -> None:
        for service in self.books.asked(event.service):
            if event.worker_id is None:
                service.forgive(now, *service.ended)
                service.begin_rollout(now)
                service.renew = service.generation
                continue
            service.forgive(now, event.worker_id)
            if self.books.asked_at is None:
                for worker in service.slots.get(event.worker_id, ()):
                    if not worker.ending:
                        self.restarting.add(worker.key)

    def _reloaded(self, now: int, event: ev.Reloaded) -> None:
        worker = self.books.workers.get(event.worker)
        if worker is not None and event.generation > worker.generation:
            worker.generation = event.generation
            if worker.generation == worker.service.generation:
                worker.service.progress_at = now

    # Effects

    def _spawn(self, now: int, effect: fx.Spawn) -> None:
        service = self.books.services[effect.service]
        others = service.slots.get(effect.worker_id)
        if others is None:
            return
        if len(others) > 1 or not service.surge:
            raise Violation(f"one live worker too many in slot {effect.worker_id}")
        first = others[0]
        if first.superseded:
            return  # the one that took its place is gone already
        wanted = [workers for slot, workers in service.slots.items() if slot < service.wanted]
        if 1 + sum(len(workers) > 1 for workers in wanted) > service.surge:
            raise Violation("more processes than max_surge allows")
        stale = service.rolling and first.generation < service.generation
        if not (stale or first.ending or first.retired(now)):
            raise Violation("a successor for a worker that nobody replaces")

    def _terminate(self, now: int, effect: fx.Terminate) -> None:
        worker = self.books.known(effect.worker, "Terminate")
        if worker.ending:
            raise Violation(f"worker {effect.worker} was told to stop twice")
        reason, service = effect.reason, worker.service
        if reason is Reason.RESTART and worker.key in self.restarting:
            self.restarting.remove(worker.key)
        elif reason in REPLACED:
            workers = service.slots[worker.slot]
            if worker is not workers[0]:
                self._check_dropped(worker)
            else:
                self._check_reason(worker, reason, now)
                self._check_capacity(worker, workers[1:], now)
        elif reason is Reason.SCALED_DOWN:
            if worker.slot < service.wanted:
                raise Violation("a wanted worker was scaled down")
        elif reason is not Reason.STOPPED:
            raise Violation(f"worker {effect.worker} was stopped without cause: {reason}")

    def _check_dropped(self, worker: WorkerBook) -> None:
        """A successor goes before it has taken its place."""
        service = worker.service
        own = worker.reloads and worker.born >= service.renew
        if own or worker.generation == service.generation:
            self._dropped.add(service.key)  # its rollout must have failed

    def _check_reason(self, worker: WorkerBook, reason: Reason, now: int) -> None:
        service = worker.service
        if reason is Reason.RECYCLED:
            if not worker.retired(now):
                raise Violation("a worker was recycled without cause, or too early")
            min_life = round(worker.policy.recycle.min_life * SECOND)  # type: ignore[union-attr]
            last = service.recycled_at.get(worker.slot)
            # Since then, a successor had to be ready for min_ready, or was already.
            early = worker.min_ready + self.books.punctual
            if last is not None and now - last < min_life - early:
                raise Violation("a storm of recycling")
            service.recycled_at[worker.slot] = now
            return
        if worker.generation >= service.generation:
            raise Violation("a worker was replaced that is current")
        if not service.rolling and not service.removed:
            raise Violation("a worker was replaced though no rollout goes on")
        if reason is Reason.RELOAD and worker.reloads and worker.born >= service.renew:
            raise Violation("a worker with its own reload() was restarted")
        if reason is Reason.RESTART and worker.born >= service.renew:
            raise Violation("a worker was restarted that nobody wanted to be")

    def _check_capacity(self, worker: WorkerBook, beside: list[WorkerBook], now: int) -> None:
        service = worker.service
        service.full_since = None
        if beside and not beside[0].ending:
            if not beside[0].counts(now):
                raise Violation("a worker was told to go before its successor was available")
            service.supersede(worker)
            return
        if service.gave_up or self.books.escalated is not None:
            raise Violation("a worker was replaced, and nothing can be started")
        if service.surge and now < service.not_before.get(worker.slot, now):
            raise Violation("a worker was told to go while its successor waits")
        if worker.counts(now):
            left = service.available(now) - 1
            if left < service.wanted - sum(service.ended.values()) - service.allowed:
                raise Violation("a rollout took away more than max_unavailable")

    def _reload(self, now: int, effect: fx.Reload) -> None:
        worker = self.books.known(effect.worker, "Reload")
        service = worker.service
        if worker.ending:
            raise Violation("a worker that is ending was told to reload")
        if effect.generation <= max(worker.deaf_to, worker.generation):
            raise Violation("a worker was told twice of one generation")
        if effect.generation != service.generation:
            raise Violation("a worker was told of an old generation")
        if not worker.reloads or worker.born < service.renew:
            raise Violation("a worker was told to reload that must be replaced")
        if not service.rolling:
            raise Violation("a worker was told to reload though no rollout goes on")
        worker.deaf_to = effect.generation

    def _finished(self, now: int, effect: fx.RolloutFinished) -> None:
        service = self.books.services[effect.service]
        if effect.generation != service.generation:
            raise Violation("an old rollout was called finished")
        if not service.rolling:
            raise Violation("a rollout was called finished that does not go on")
        service.rolling = False
        for slot in range(service.wanted):
            if not service.ended.get(slot) and not self._current(service, slot, now):
                raise Violation(f"a rollout was called finished without slot {slot}")

    @staticmethod
    def _current(service: ServiceBook, slot: int, now: int) -> bool:
        first = service.first(slot)
        if first is not None and first.generation < service.generation:
            return False
        return any(
            worker.counts(now)
            and worker.generation == service.generation
            and worker.born >= service.renew
            for worker in service.slots.get(slot, ())
        )

    def _failed(self, now: int, effect: fx.RolloutFailed) -> None:
        service = self.books.services[effect.service]
        if effect.generation != service.generation or not service.rolling:
            raise Violation("a rollout was called failed that does not go on")
        service.rolling = False
        service.failed = True
        self._dropped.discard(service.key)
        if not effect.gave_up and not self._may_fail(service, now):
            raise Violation("a rollout was called failed too early")
        firsts = map(service.first, service.slots)
        behind = sum(w is not None and w.generation < service.generation for w in firsts)
        if effect.behind != behind:
            raise Violation(f"{effect.behind} workers were called behind, not {behind}")

    @staticmethod
    def _may_fail(service: ServiceBook, now: int, late: int = 0) -> bool:
        deadline = round(service.policy.rollout.progress_deadline * SECOND)
        return service.opened and now >= service.progress_at + deadline + late

    # Moments

    def inspect(self, now: int) -> None:
        """A rollout without progress fails; what has grown or grown old goes."""
        books = self.books
        if books.asked_at is not None or books.escalated is not None:
            return
        for service in books.services.values():
            if service.rolling and self._may_fail(service, now, books.punctual + 1):
                raise Violation(f"the rollout of service {service.key} makes no progress")
            if service.recycles:
                self._check_recycled(service, now)

    def _check_recycled(self, service: ServiceBook, now: int) -> None:
        """While nobody is missing, those who are to be recycled do not wait."""
        single = all(
            len(workers) == 1 and not workers[0].ending for workers in service.slots.values()
        )
        full = service.available(now) == service.wanted - sum(service.ended.values())
        if service.gave_up or service.rolling or not (single and full):
            service.full_since = None
            return
        if service.full_since is None:
            service.full_since = now
        patience = self.books.patience
        if now <= service.full_since + patience:
            return
        for slot, (worker,) in service.slots.items():
            waits = slot in service.barren or now < service.start_by.get(slot, 0) + patience
            if worker.retired(now) and worker.retired(now - patience, surely=True) and not waits:
                raise Violation(f"the worker in slot {slot} is not recycled")

    def after(self, now: int, events: Sequence[ev.Event]) -> None:
        """Who was to be restarted was told; who is finished is called so."""
        if self._dropped:
            raise Violation("a successor was dropped for no reason")
        books = self.books
        if self.restarting:
            raise Violation(f"workers {sorted(self.restarting)} were not restarted")
        if books.asked_at is not None or books.escalated is not None:
            return
        for service in books.services.values():
            if service.rolling and all(
                service.ended.get(slot) or self._current(service, slot, now)
                for slot in range(service.wanted)
            ):
                raise Violation(f"the rollout of service {service.key} was not called finished")
        if any(type(event) is ev.ReloadRequested for event in events):
            self._check_unbuilt()

    def _check_unbuilt(self) -> None:
        for worker in self.books.workers.values():
            service = worker.service
            behind = service.rolling and worker.generation < service.generation
            unbuilt = worker.ready_at is None and not worker.ending
            if behind and unbuilt and worker.reloads is False:
                raise Violation("a worker that is being built is left with an old generation")

    EVENTS = {  # noqa: RUF012 - declared by the base class
        ev.ScaleRequested: _scaled,
        ev.ReloadRequested: _reload_asked,
        ev.RestartRequested: _restart_asked,
        ev.Reloaded: _reloaded,
    }
    EFFECTS = {  # noqa: RUF012 - declared by the base class
        fx.Spawn: _spawn,
        fx.Terminate: _terminate,
        fx.Reload: _reload,
        fx.RolloutFinished: _finished,
        fx.RolloutFailed: _failed,
    }
