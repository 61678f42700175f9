"""The referee's books: what it has seen of each service and worker.

Responsible for remembering, and for the name of a breach. Never judges.
"""

from cotyledon._core import events as ev
from cotyledon.policy import Policy


class Violation(AssertionError):
    """The core has broken one of its promises."""


class WorkerBook:
    __slots__ = (
        "deaf_to",
        "generation",
        "grace",
        "killed",
        "limit",
        "ready_at",
        "reloads",
        "service",
        "slot",
        "spawned_at",
        "told_at",
    )

    def __init__(self, service: "ServiceBook", slot: int, now: int) -> None:
        self.service = service
        self.slot = slot
        self.spawned_at = now
        self.generation = service.generation
        self.grace = service.grace
        self.reloads = service.reloads
        self.ready_at: int | None = None
        self.told_at: int | None = None  # when it was told to stop
        self.limit = 0  # its graceful timeout when it was told
        self.killed = False
        self.deaf_to = 0  # the last generation it was told of


class ServiceBook:
    __slots__ = (
        "allowed",
        "deaths",
        "finished",
        "generation",
        "grace",
        "key",
        "policy",
        "reloads",
        "slots",
        "started",
        "wanted",
    )

    def __init__(self, added: ev.ServiceAdded) -> None:
        self.key = added.service
        self.wanted = added.wanted
        self.grace = added.grace
        self.reloads = added.reloads
        self.policy: Policy = added.policy
        self.generation = 0
        self.slots: dict[int, WorkerBook] = {}
        self.deaths: dict[int, list[tuple[int, int]]] = {}  # slot -> (died at, lived) in a row
        self.started: set[int] = set()
        self.finished = 0  # the generation whose rollout was called finished
        self.allowed = self.limit()

    def limit(self) -> int:
        """How many may be unavailable, worked out anew."""
        limit = self.policy.rollout.max_unavailable
        if isinstance(limit, int):
            return limit
        return max(1, self.wanted * int(limit.rstrip("%")) // 100)

    def ready(self) -> int:
        return sum(
            w.ready_at is not None and w.told_at is None and not w.killed
            for w in self.slots.values()
        )
