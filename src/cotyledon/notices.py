"""What ``on_event`` hooks are told: one kind of tuple for each thing that can happen.

Responsible for the shape of the notices. Never decides, never holds behaviour. New fields are
added at the end, new kinds may come; durations are seconds.

Example:
    ::

        def on_event(notice):
            match notice:
                case notices.WorkerDied(name=name, worker_id=i, death=death):
                    statsd.incr(f"{name}.deaths.{death.reason}")
                case notices.RolloutFailed(name=name, why=why):
                    page_somebody(f"the reload of {name} has failed: {why}")

        manager.register_hooks(on_event=on_event)
"""

from typing import NamedTuple, TypeAlias

from cotyledon.status import Death
from cotyledon.types import ServiceId, WorkerId


class WorkerStarted(NamedTuple):
    """A process was started in a slot."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    pid: int | None
    reason: str
    """``wanted`` (the first in its slot), ``respawn`` or ``successor`` (one more while the
    worker that it replaces still works)."""


class WorkerReady(NamedTuple):
    """A worker has become ready."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    pid: int | None
    took: float


class WorkerDied(NamedTuple):
    """A worker is gone, whoever wanted it."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    death: Death
    stopping: bool
    """Whether the manager was stopping."""


class BackingOff(NamedTuple):
    """A slot waits before its next worker, after repeated deaths."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    seconds: float
    failures: int
    """The deaths in a row that the wait is for."""


class WorkerSilent(NamedTuple):
    """A worker has missed its heartbeat or its start timeout: it is killed in a second."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    pid: int | None
    reason: str
    """``watchdog`` or ``start timeout``."""
    silent_for: float


class WorkerRecovered(NamedTuple):
    """A worker that was silent was heard in its last second, and lives on."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    pid: int | None


class WorkerStatus(NamedTuple):
    """A service has said what it is doing: see :meth:`cotyledon.Service.status`."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    pid: int | None
    status: str | None


class GaveUp(NamedTuple):
    """Nothing more is started until SIGHUP, ``reconfigure()``, ``reload()`` or ``restart()``."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId | None
    """The slot; ``None``: the whole service, because of too many failures."""
    exit_code: int | None
    """Of the last end."""


class AllReady(NamedTuple):
    """Once: every wanted worker has been seen ready."""


class ServiceGone(NamedTuple):
    """A service that was removed has no workers left, and is forgotten."""

    service_id: ServiceId
    name: str


class RolloutFinished(NamedTuple):
    """A reload or a restart has reached every worker of a service."""

    service_id: ServiceId
    name: str
    generation: int


class RolloutFailed(NamedTuple):
    """A reload or a restart goes no further; what still runs old is kept."""

    service_id: ServiceId
    name: str
    generation: int
    behind: int
    """How many workers still run an older generation."""
    why: str


class Unkillable(NamedTuple):
    """A worker was killed and is still there: it hangs in the kernel."""

    service_id: ServiceId
    name: str
    worker_id: WorkerId
    pid: int | None


class Stopping(NamedTuple):
    """The manager stops; the ``on_terminate`` hooks are called next."""

    why: str


Notice: TypeAlias = (
    WorkerStarted
    | WorkerReady
    | WorkerDied
    | BackingOff
    | WorkerSilent
    | WorkerRecovered
    | WorkerStatus
    | GaveUp
    | AllReady
    | ServiceGone
    | RolloutFinished
    | RolloutFailed
    | Unkillable
    | Stopping
)
"""Any of them."""
