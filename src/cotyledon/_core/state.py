r"""The nouns of the core: services, their slots, and the workers in them.

Responsible for what is remembered and for the line that a worker's life is. Never decides: the
machine does. Every deadline is a field here; the machine's heap holds only hints to them.

A worker's life::

    STARTING -> READY -> STOPPING -> KILLED -> gone
        \_________________^___________^

Each phase has at most one deadline, and no phase goes backwards. A slot outlives its
workers.
"""

from collections import deque
from enum import IntEnum
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


class DeathRecord(NamedTuple):
    """One end of a worker, as it is remembered in its slot."""

    reason: Reason
    status: int | None
    started_at: int
    died_at: int


class Worker:
    """One process, known by a number."""

    __slots__ = (
        "cause",
        "deadline",
        "generation",
        "grace",
        "key",
        "phase",
        "ready_at",
        "reloads",
        "since",
        "slot",
        "started_at",
        "told",
    )

    def __init__(self, key: int, slot: "Slot", now: int) -> None:
        service = slot.service
        self.key = key
        self.slot = slot
        self.phase = Phase.STARTING
        self.started_at = now
        self.since = now  # when the phase began
        self.ready_at: int | None = None
        self.deadline: int | None = None  # when the phase must have ended
        self.generation = service.generation  # the reload that it has taken up
        self.told = service.generation  # the reload that it was told of
        self.reloads = service.reloads
        self.grace = service.grace
        self.cause: Reason | None = None  # why it was told to end


class Slot:
    """A place for one worker of a service: ``worker_id`` is its index there."""

    __slots__ = ("deaths", "failures", "not_before", "service", "starts", "worker", "worker_id")

    def __init__(self, service: "ServiceState", worker_id: int) -> None:
        self.service = service
        self.worker_id = worker_id
        self.worker: Worker | None = None
        self.starts = 0
        self.failures = 0
        self.not_before = 0  # the end of the back-off
        self.deaths: deque[DeathRecord] = deque(maxlen=DEATHS_KEPT)

    @property
    def wanted(self) -> bool:
        """Whether the service wants a worker here."""
        return self.worker_id < self.service.wanted


class ServiceState:
    """A service: what is wanted of it, and its slots, by worker id."""

    __slots__ = (
        "generation",
        "grace",
        "key",
        "policy",
        "ready",
        "reloads",
        "rolling",
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
        self.generation = 0
        self.rolling = False  # some worker may be behind the generation
        self.ready = 0  # workers in phase READY; changed by Core._enter alone
        self.slots: list[Slot] = []
