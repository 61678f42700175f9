"""The referee's books: what it has seen of the manager, of each service, and of each worker.

Responsible for remembering, for counting what is remembered, and for the name of a breach. Never
judges.
"""

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon.policy import Policy

SECOND = 1_000_000_000


class Violation(AssertionError):
    """The core has broken one of its promises."""


class WorkerBook:
    """What is known of one worker."""

    __slots__ = (
        "asked_at",
        "beat",
        "born",
        "deaf_to",
        "dumped_at",
        "generation",
        "grace",
        "grown_at",
        "key",
        "killed",
        "limit",
        "looked_at",
        "lost",
        "measured_at",
        "min_ready",
        "policy",
        "ready_at",
        "recovers",
        "reloads",
        "service",
        "slot",
        "spawned_at",
        "start_by",
        "superseded",
        "told_at",
        "why",
    )

    def __init__(self, key: int, service: "ServiceBook", slot: int, now: int) -> None:
        self.key = key
        self.service = service
        self.slot = slot
        self.spawned_at = now
        self.generation = service.generation
        self.born = service.generation
        self.policy = service.policy
        self.min_ready = round(service.policy.rollout.min_ready * SECOND)
        self.grace = service.grace
        self.reloads = service.reloads
        self.ready_at: int | None = None
        self.told_at: int | None = None  # when it was told to stop
        self.limit = 0  # its graceful timeout when it was told
        self.killed = False
        self.why: fx.Reason | None = None  # the last reason for which it was told or killed
        self.deaf_to = 0  # the last generation it was told of
        self.superseded = False  # it ends next to the worker that goes on in its slot
        timeout = service.policy.start.timeout
        self.start_by = None if timeout is None else now + round(timeout * SECOND)
        self.asked_at: int | None = None  # when it was called silent, while it is
        self.dumped_at: int | None = None  # when it was asked for its stacks
        self.recovers = False  # it must be called recovered
        self.beat = 0  # the last heartbeat that the core has been told of, or its readiness
        self.looked_at: int | None = None  # when its heartbeat was looked up, while unanswered
        self.lost = 0  # such looks that were never answered, since it was last heard
        self.measured_at: int | None = None  # when its memory was last looked up
        self.grown_at: int | None = None  # when a measurement was above the limit

    @property
    def ending(self) -> bool:
        """Whether it was told to stop, or killed."""
        return self.told_at is not None or self.killed

    def counts(self, now: int) -> bool:
        """Whether it is available: ready for long enough, and not ending."""
        return (
            self.ready_at is not None
            and now >= self.ready_at + self.min_ready
            and self.told_at is None
            and not self.killed
        )

    def retired(self, now: int, *, surely: bool = False) -> bool:
        """Whether it may be recycled; or, surely, must be."""
        recycle = self.policy.recycle
        if recycle is None or self.ready_at is None:
            return False
        lived = now - self.ready_at
        if lived < round(recycle.min_life * SECOND):
            return False
        if self.grown_at is not None and self.grown_at <= now:
            return True
        if recycle.lifetime is None:
            return False
        jitter = 0.0 if surely else recycle.jitter
        return lived >= recycle.lifetime * (1 - jitter) * SECOND - 1000


class ServiceBook:
    """What is known of one service."""

    __slots__ = (
        "after",
        "allowed",
        "asked_at",
        "barren",
        "deaths",
        "ended",
        "failed",
        "failures",
        "full_since",
        "gave_up",
        "generation",
        "grace",
        "key",
        "later",
        "not_before",
        "opened",
        "policy",
        "progress_at",
        "recycled_at",
        "recycles",
        "reloads",
        "removed",
        "renew",
        "rolling",
        "slots",
        "start_by",
        "started",
        "surge",
        "wanted",
    )

    def __init__(self, added: ev.ServiceAdded) -> None:
        self.key = added.service
        self.wanted = added.wanted
        self.grace = added.grace
        self.reloads = added.reloads
        self.policy: Policy = added.policy
        self.generation = 0
        self.renew = 0  # workers of earlier generations are to be replaced in any case
        # The workers of each slot: the one that goes on, then one that comes or goes beside it.
        self.slots: dict[int, list[WorkerBook]] = {}
        self.deaths: dict[int, list[int]] = {}  # slot -> failures in a row, when
        self.not_before: dict[int, int] = {}  # slot -> the end of its back-off, at the earliest
        self.start_by: dict[int, int] = {}  # slot -> the end of its back-off, at the latest
        self.asked_at = 0  # when somebody has asked for workers the last time
        self.started: set[int] = set()
        self.ended: dict[int, bool] = {}  # slot -> it has ended for good, in success or not
        self.barren: set[int] = set()  # slots whose successor has failed for good
        self.failures: list[int] = []  # when, of all slots
        self.gave_up = False
        self.full_since: int | None = None  # every slot has one worker, which counts
        self.rolling = False
        self.failed = False  # the last rollout has
        self.progress_at = 0  # of the rollout
        self.recycled_at: dict[int, int] = {}
        self.recycles = added.policy.recycle is not None  # some of its workers may be
        self.removed = False
        self.after: list[ServiceBook] = []
        self.later: list[ServiceBook] = []  # those that come after it, directly or not
        self.opened = not added.after  # it may start
        self.measure_rollout()

    def change(self, changed: ev.ServiceChanged, now: int) -> None:
        """Somebody changes what it is."""
        self.grace, self.reloads, self.policy = changed.grace, changed.reloads, changed.policy
        self.recycles = self.recycles or changed.policy.recycle is not None
        self.forgive(now, *(self.ended if changed.policy.restart == "always" else ()))
        self.measure_rollout()
        self.progress_at = now

    def want(self, wanted: int) -> None:
        """Somebody changes how many workers it has."""
        self.wanted = wanted
        self.measure_rollout()
        for slot in [slot for slot in self.ended if slot >= wanted]:
            del self.ended[slot]

    def measure_rollout(self) -> None:
        """Work out anew how many may be unavailable, and how many too many."""
        rollout = self.policy.rollout
        self.allowed = _share(rollout.max_unavailable, self.wanted, up=False)
        self.surge = _share(rollout.max_surge, self.wanted, up=True)

    def first(self, slot: int) -> WorkerBook | None:
        """The worker that goes on in a slot, if it is not ending."""
        workers = self.slots.get(slot)
        return workers[0] if workers and not workers[0].ending else None

    def ready(self) -> int:
        """How many slots have a worker that is ready and not ending; of two, the first counts."""
        return sum(
            workers[0].ready_at is not None and not workers[0].ending
            for workers in self.slots.values()
        )

    def available(self, now: int) -> int:
        """How many slots have a worker that counts."""
        return sum(any(w.counts(now) for w in workers) for workers in self.slots.values())

    def complete(self) -> bool:
        """Whether every wanted slot is ready, or done in success."""
        return self.ready() + sum(self.ended.values()) >= self.wanted

    def is_done(self) -> bool:
        """Whether nothing of it lives, and nothing will be started by itself."""
        if self.slots or not self.wanted:
            return False
        return self.gave_up or len(self.ended) == self.wanted

    def leave(self, worker: WorkerBook) -> None:
        """A worker is gone."""
        workers = self.slots[worker.slot]
        workers.remove(worker)
        if not workers:
            del self.slots[worker.slot]

    def supersede(self, old: WorkerBook) -> None:
        """The successor of a worker takes its place."""
        self.slots[old.slot].reverse()
        old.superseded = True

    def forgive(self, now: int, *successes: int) -> None:
        """Somebody asks again: failures are forgotten, and the successes of these slots."""
        self.deaths.clear()
        self.not_before.clear()
        self.start_by.clear()
        self.asked_at = now
        self.failures.clear()
        self.barren.clear()
        self.gave_up = False
        for slot, success in list(self.ended.items()):
            if not success or slot in successes:
                del self.ended[slot]

    def begin_rollout(self, now: int) -> None:
        """A new generation is asked for."""
        self.generation += 1
        self.rolling = True
        self.failed = False
        self.progress_at = now


class Books:
    """What is known of the manager."""

    def __init__(self, *, grace: int, spawn_interval: int, punctual: int) -> None:
        self.grace = grace
        self.spawn_interval = spawn_interval
        self.punctual = punctual
        self.now = 0
        self.services: dict[int, ServiceBook] = {}
        self.workers: dict[int, WorkerBook] = {}  # alive as far as the core has been told
        self.gone: set[int] = set()
        self.asked_at: int | None = None  # the stop
        self.stop_at: int | None = None
        self.ordered_until: int | None = None  # None: without end
        self.hurried = False
        self.aborted = False
        self.late_kill = False
        self.escalated: int | None = None  # the status that a service's stop has asked for
        self.announced = False
        self.exit: int | None = None

    @property
    def patience(self) -> int:
        """How long something may wait for its turn among the spawns."""
        return self.punctual + 200 * self.spawn_interval

    def asked(self, service: int | None) -> list[ServiceBook]:
        """Return the services that a wish is about: none, if it has been removed meanwhile."""
        those = self.services.values() if service is None else [self.services.get(service)]
        return [one for one in those if one is not None and not one.removed]

    def known(self, key: int, what: str) -> WorkerBook:
        """Return a living worker that an effect is about."""
        worker = self.workers.get(key)
        if worker is None:
            state = "gone" if key in self.gone else "unknown"
            raise Violation(f"{what} for worker {key}, which is {state}")
        return worker


def _share(limit: int | str, wanted: int, *, up: bool) -> int:
    if isinstance(limit, int):
        return limit
    percent = int(limit.rstrip("%"))
    if up:
        return (wanted * percent + 99) // 100
    return max(1, wanted * percent // 100) if percent else 0
