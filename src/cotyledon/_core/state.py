r"""The nouns of the core: services, their slots, and the workers in them.

Responsible for what is remembered, and for the line that a worker's life is. Never decides: the
machine and its parts do. Every deadline is a field here; the heap of the board holds only hints
to them.

A worker's life::

    STARTING -> READY -> STOPPING -> KILLED -> gone
        \_________________^___________^

Each phase has at most one deadline, and no phase goes backwards: what is READY has as its
deadline the next instant at which it must be looked at. A slot outlives its workers.
"""

from collections import deque
from enum import Enum, IntEnum
from typing import NamedTuple

from cotyledon._core.effects import Reason
from cotyledon.policy import Policy

DEATHS_KEPT = 10


class Phase(IntEnum):
    """How far a worker's life has gone."""

    STARTING = 1
    READY = 2
    STOPPING = 3
    KILLED = 4


class Ending(Enum):
    """How a slot has ended for good: nothing more is started in it."""

    DONE = "done"
    FAILED = "failed"


class DeathRecord(NamedTuple):
    """One end of a worker, as it is remembered in its slot."""

    reason: Reason
    status: int | None
    started_at: int
    died_at: int
    wait: int | None  # until the next start, as it was decided then; None: none was wanted
    failures: int  # that the wait is for
    account: object  # what the executor has told of the end


class Worker:
    """One process, known by a number."""

    __slots__ = (
        "asked_at",
        "available",
        "beat",
        "beat_due",
        "born",
        "cause",
        "deadline",
        "generation",
        "grace",
        "key",
        "measure_at",
        "phase",
        "policy",
        "ready_at",
        "reloads",
        "replace",
        "retire_at",
        "since",
        "slot",
        "started_at",
        "told",
    )

    def __init__(self, key: int, slot: "Slot", now: int) -> None:
        service = slot.service
        self.key = key
        self.slot = slot
        self.policy = service.policy  # of its start; the service may have another one by now
        self.phase = Phase.STARTING
        self.started_at = now
        self.since = now  # when the phase began
        self.ready_at: int | None = None
        self.deadline: int | None = None  # when the phase must have ended, or be looked at
        self.generation = service.generation  # the reload that it has taken up
        self.told = service.generation  # the reload that it was told of
        self.born = service.generation  # the reload that it was started for
        self.reloads = service.reloads
        self.grace = service.grace
        self.cause: Reason | None = None  # why it was told to end
        self.available = False  # it has been ready for long enough to count
        self.replace: Reason | None = None  # why a rollout shall replace it
        self.beat = 0  # the last heartbeat that is known
        self.beat_due: int | None = None  # when to look for another one
        self.asked_at = 0  # when it was asked for its stacks, while it is silent
        self.measure_at: int | None = None  # when to look at its memory
        self.retire_at: int | None = None  # when it has lived long enough


class Slot:
    """A place for one worker of a service: ``worker_id`` is its index there.

    While a worker is replaced with surge, there is a second one: the successor until it
    is available, then its predecessor until that has gone.
    """

    __slots__ = (
        "barren",
        "deaths",
        "ending",
        "failures",
        "not_before",
        "second",
        "service",
        "starts",
        "surging",
        "worker",
        "worker_id",
    )

    def __init__(self, service: "ServiceState", worker_id: int) -> None:
        self.service = service
        self.worker_id = worker_id
        self.worker: Worker | None = None
        self.second: Worker | None = None
        self.surging = False  # a successor is to be started
        self.barren = False  # the last successor has failed for good
        self.starts = 0
        self.failures = 0
        self.not_before = 0  # the end of the back-off
        self.ending: Ending | None = None
        self.deaths: deque[DeathRecord] = deque(maxlen=DEATHS_KEPT)

    @property
    def wanted(self) -> bool:
        """Whether the service wants a worker here."""
        return self.worker_id < self.service.wanted

    @property
    def startable(self) -> bool:
        """Whether a worker may be started here, now or at the end of the back-off."""
        service = self.service
        return (
            self.ending is None
            and service.open
            and not service.gave_up
            and self.worker_id < service.wanted
        )


class ServiceState:
    """A service: what is wanted of it, and its slots, by worker id."""

    __slots__ = (
        "above",
        "after",
        "alive",
        "available",
        "below",
        "done",
        "ended",
        "failed_at",
        "gave_up",
        "generation",
        "grace",
        "key",
        "open",
        "policy",
        "progress_by",
        "ready",
        "reloads",
        "removed",
        "renew",
        "replacing",
        "rolling",
        "rollout_failed",
        "slots",
        "wanted",
    )

    def __init__(
        self, key: int, wanted: int, grace: int | None, reloads: bool | None, policy: Policy
    ) -> None:
        self.key = key
        self.wanted = wanted
        self.grace = grace
        self.reloads = reloads
        self.policy = policy
        self.after: list[ServiceState] = []  # those that must be ready first
        self.above: dict[ServiceState, None] = {}  # these and those that they come after:
        self.below: list[ServiceState] = []  # they stop once all that is below them has
        self.removed = False  # it is forgotten once it has no workers
        self.open = True  # those before have been ready once, so it may start
        self.generation = 0
        self.renew = 0  # workers born before this generation are replaced, not reloaded
        self.rolling = False  # some worker may be behind the generation
        self.rollout_failed = False  # the last rollout has
        self.progress_by: int | None = None  # when the rollout has failed, without progress
        self.gave_up = False  # nothing is started any more
        self.failed_at: deque[int] = deque()  # the failures that the intensity counts
        self.slots: list[Slot] = []
        # Counts, kept by the board alone. Of a slot with two workers, the first one counts.
        self.ready = 0  # slots with a worker that is READY
        self.available = 0  # those that have been ready for long enough
        self.alive = 0  # workers of any kind
        self.ended = 0  # wanted slots that have ended for good
        self.done = 0  # those of them that have ended in success
        self.replacing = 0  # workers that a rollout shall replace, without a reload

    @property
    def to_replace(self) -> bool:
        """Whether a rollout has something to do here."""
        return self.rolling or self.replacing > 0

    @property
    def complete(self) -> bool:
        """Whether everything that is wanted is ready, or done."""
        return self.ready + self.done >= self.wanted
