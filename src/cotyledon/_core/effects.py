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
    # why it ends
    EXIT = "exit"
    SIGNAL = "signal"
    SPAWN_FAILED = "spawn failed"
    RELOAD = "reload"
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


class Exit(NamedTuple):
    """Nothing is left to supervise: the manager ends with this status. Always the last one."""

    status: int


class WorkerReady(NamedTuple):
    """Notice: a worker has built its service."""

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


class AllReady(NamedTuple):
    """Notice, once: every wanted worker has been seen ready."""


class RolloutFinished(NamedTuple):
    """Notice: every worker of the service has taken up the generation."""

    service: int
    generation: int


class Unkillable(NamedTuple):
    """Notice: a worker was killed and is still there (it hangs in the kernel)."""

    worker: int
    service: int
    worker_id: int
    left_behind: bool  # the manager ends without it


Notice: TypeAlias = WorkerReady | WorkerDied | AllReady | RolloutFinished | Unkillable
Effect: TypeAlias = Spawn | Terminate | Reload | Kill | Exit | Notice
