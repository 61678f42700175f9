"""What the core asks for: kernel calls for the executor, notices for people.

Responsible for the vocabulary of the output. Never decides. Every effect on a worker
carries the reason, so that a trace of the core explains itself.
"""

from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Reason(StrEnum):
    """Why a worker is started or ended. The values are what people read."""

    # why it starts
    WANTED = "wanted"
    RESPAWN = "respawn"
    SUCCESSOR = "successor"
    # why it ends
    EXIT = "exit"
    SIGNAL = "signal"
    CORE_DUMP = "core dump"
    OUT_OF_MEMORY = "out of memory"
    SPAWN_FAILED = "spawn failed"
    START_TIMEOUT = "start timeout"
    WATCHDOG = "watchdog"
    RELOAD = "reload"
    RESTART = "restart"
    RECYCLED = "recycled"
    SCALED_DOWN = "scaled down"
    STOPPED = "stopped"
    STOP_TIMEOUT = "stop timeout"
    ABORTED = "aborted"


class Spawn(NamedTuple):
    """Start a process for a slot. Answered by ``Ready``, ``Exited`` or ``SpawnFailed``."""

    worker: int
    service: int
    worker_id: int
    grace: int  # the manager's graceful timeout in nanoseconds; bounds the service's own
    reason: Reason


class Terminate(NamedTuple):
    """Ask a worker to stop gracefully."""

    worker: int
    reason: Reason


class Reload(NamedTuple):
    """Ask a worker to take up a generation. Answered by ``Reloaded``, or by its end."""

    worker: int
    generation: int


class Kill(NamedTuple):
    """Kill a worker and its whole process group."""

    worker: int
    reason: Reason


class DumpStacks(NamedTuple):
    """Ask a worker that is silent for the stacks of its threads."""

    worker: int


class ReadBeat(NamedTuple):
    """Look up a worker's last heartbeat. Answered by ``Heartbeat``."""

    worker: int


class MeasureMemory(NamedTuple):
    """Look up a worker's private memory. Answered by ``Measured``."""

    worker: int
    limit: int  # in bytes; below it, a rough figure will do


class StopManager(NamedTuple):
    """Ask for a stop of the manager, once. Answered by ``StopRequested``."""

    service: int
    status: int  # the exit status of the manager, if the stop itself is graceful
    reason: "Escalation"


class Escalation(StrEnum):
    """Why a service stops the manager."""

    INTENSITY = "too many failures"
    DONE = "a significant service is done"


class Exit(NamedTuple):
    """Nothing is left to supervise: the manager ends with this status. Always the last one."""

    status: int


class WorkerReady(NamedTuple):
    """Notice: a worker is ready."""

    worker: int
    service: int
    worker_id: int
    took: int


class WorkerDied(NamedTuple):
    """Notice: a worker is gone."""

    worker: int
    service: int
    worker_id: int
    reason: Reason
    status: int | None
    uptime: int
    respawn_in: int | None  # nanoseconds; None: no replacement is wanted
    failures: int
    stopping: bool  # the manager's own stop ended it
    account: object  # what the executor has told of the end


class WorkerSilent(NamedTuple):
    """Notice: a worker has missed its heartbeat or its start timeout; it has one more second."""

    worker: int
    service: int
    worker_id: int
    reason: Reason  # WATCHDOG or START_TIMEOUT
    silent_for: int


class WorkerRecovered(NamedTuple):
    """Notice: a worker that was called silent is heard again, and lives on."""

    worker: int
    service: int
    worker_id: int


class GaveUp(NamedTuple):
    """Notice: nothing more is started in this slot, or for this service, until people ask."""

    service: int
    worker_id: int | None  # None: the whole service
    status: int | None  # of the last end


class ServiceGone(NamedTuple):
    """Notice: a service that was removed has no workers left, and is forgotten."""

    service: int


class AllReady(NamedTuple):
    """Notice, once: every wanted worker has been seen ready."""


class RolloutFinished(NamedTuple):
    """Notice: every worker of the service has taken up the generation."""

    service: int
    generation: int


class RolloutFailed(NamedTuple):
    """Notice: the generation has not reached every worker; what runs old is kept."""

    service: int
    generation: int
    behind: int  # workers that still run an old one
    gave_up: bool  # because of too many failures; else because of no progress


class Unkillable(NamedTuple):
    """Notice: a worker was killed and is still there (it hangs in the kernel)."""

    worker: int
    service: int
    worker_id: int
    left_behind: bool  # the manager ends without it


Notice: TypeAlias = (
    WorkerReady
    | WorkerDied
    | WorkerSilent
    | WorkerRecovered
    | GaveUp
    | AllReady
    | ServiceGone
    | RolloutFinished
    | RolloutFailed
    | Unkillable
)
Effect: TypeAlias = (
    Spawn
    | Terminate
    | Reload
    | Kill
    | DumpStacks
    | ReadBeat
    | MeasureMemory
    | StopManager
    | Exit
    | Notice
)
