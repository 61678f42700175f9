"""What can happen to the core: facts that the kernel or a worker tells, wishes that people have.

Responsible for the vocabulary of the input. Never decides. A *worker* is the number that a
:class:`~cotyledon._core.effects.Spawn` gave to it and is never used twice; a *service* is the
number that the manager gave to it. All durations are nanoseconds.
"""

from typing import NamedTuple, TypeAlias

from cotyledon.policy import Policy

# Wishes


class ServiceAdded(NamedTuple):
    """Keep ``wanted`` workers of a new service alive."""

    service: int
    wanted: int
    grace: int | None  # of the service itself; None: the manager's; 0: no limit of its own
    reloads: bool | None  # has a reload() of its own; None: not known before a worker is ready
    policy: Policy
    after: tuple[int, ...] = ()  # services that must be ready first, and stop last


class ServiceChanged(NamedTuple):
    """A service is another one from now on; forget past failures.

    What its policy says of a worker (start, watchdog, recycling, ``min_ready``) holds for those
    that are started from now on.
    """

    service: int
    grace: int | None
    reloads: bool | None
    policy: Policy


class ServiceRemoved(NamedTuple):
    """Stop the workers of a service, then forget it. None that stays comes after it."""

    service: int


class ScaleRequested(NamedTuple):
    """Keep ``wanted`` workers alive from now on; forget past failures."""

    service: int
    wanted: int


class ReloadRequested(NamedTuple):
    """Bring every worker to a new generation; forget past failures."""

    service: int | None = None  # None: every service


class RestartRequested(NamedTuple):
    """Replace workers by new ones, whether or not they could reload; forget past failures."""

    service: int
    worker_id: int | None = None  # None: all of them, in a rollout; one: at once


class GraceChanged(NamedTuple):
    """The manager's graceful timeout is another one from now on (0: none)."""

    grace: int


class StopRequested(NamedTuple):
    """Stop everything gracefully; what is left ``within`` from now is killed.

    ``None``: the manager's graceful timeout. Hooks may have used up a part of it.
    """

    within: int | None = None


class HurryRequested(NamedTuple):
    """Somebody asked again: what is left of a graceful stop is one more second."""


class AbortRequested(NamedTuple):
    """End everything at once, with status 1."""


# Facts


class SpawnFailed(NamedTuple):
    """The kernel would not make this worker; no process exists."""

    worker: int


class Ready(NamedTuple):
    """The worker has built its service or, where that counts, has said that it is ready."""

    worker: int
    reloads: bool  # it has a reload() of its own
    grace: int | None  # its service's own graceful timeout


class Extended(NamedTuple):
    """A worker that is not ready needs more time: ``by`` from now."""

    worker: int
    by: int


class Heartbeat(NamedTuple):
    """The instant of a worker's last heartbeat, the answer to ``ReadBeat`` (0: none so far)."""

    worker: int
    at: int


class Measured(NamedTuple):
    """A worker's private memory in bytes, the answer to ``MeasureMemory``."""

    worker: int
    private: int


class Reloaded(NamedTuple):
    """The worker's own reload() has returned; ``generation`` is what it was told when it began."""

    worker: int
    generation: int
    grace: int | None


class Exited(NamedTuple):
    """The worker's process is gone and was reaped."""

    worker: int
    status: int | None  # negative: the number of the signal; None: stolen by a foreign wait
    dumped: bool = False  # it left a core dump
    out_of_memory: bool = False  # the kernel says that it killed for want of memory
    account: object = None  # what else is known; kept with the death, never looked into


Event: TypeAlias = (
    ServiceAdded
    | ServiceChanged
    | ServiceRemoved
    | ScaleRequested
    | ReloadRequested
    | RestartRequested
    | GraceChanged
    | StopRequested
    | HurryRequested
    | AbortRequested
    | SpawnFailed
    | Ready
    | Extended
    | Heartbeat
    | Measured
    | Reloaded
    | Exited
)
