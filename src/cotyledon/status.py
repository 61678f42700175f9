"""What people are told about a manager: immutable snapshots.

Responsible for the shape of :meth:`cotyledon.ServiceManager.status`. Never holds state of
its own: a snapshot is derived from the core and from the table of processes when it is asked
for. New fields are added at the end. Times are seconds.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cotyledon.types import ServiceId, WorkerId


class Usage(NamedTuple):
    """What a worker has used, its own children that it waited for included (``getrusage(2)``)."""

    user: float
    """Seconds of CPU in user code."""
    system: float
    """Seconds of CPU in the kernel."""
    max_rss: int
    """Bytes of memory of the largest of these processes at its largest, those included that it
    shared with others (with the master, in a worker that was forked)."""
    major_faults: int
    """How often it had to wait for a page of memory to be read from a disk."""


class Death(NamedTuple):
    """How and why one worker ended."""

    reason: str
    """Why it ended: by itself: ``exit``, ``signal``, ``core dump``, ``out of memory``, ``spawn
    failed`` (it never began); killed by the manager: ``start timeout``, ``watchdog``, ``stop
    timeout`` (it did not stop in time), ``aborted``; told to end: ``reload``, ``restart``,
    ``recycled``, ``scaled down``, ``stopped`` (the manager's own stop)."""
    exit_code: int | None
    """The exit status, or minus the number of the signal; ``None``: it never started, or
    its status was taken by a foreign ``waitpid``."""
    uptime: float
    """Seconds from its start to its end."""
    ago: float
    """Seconds from its end to the snapshot."""
    pid: int | None = None
    usage: Usage | None = None
    """``None`` where it is not known, as under other start methods than fork."""
    stacks: str | None = None
    """The stacks of all its threads, if it was killed because it was silent."""
    next_start_in: float | None = None
    """Seconds from its end to the next start, as it was decided then; ``None``: no other was
    wanted in its slot, or one was there."""
    failures: int = 0
    """The deaths in a row that this wait is for: 1 is answered at once."""


class WorkerStatus(NamedTuple):
    """One slot of a service: the worker in it, or the wait for the next one."""

    worker_id: WorkerId
    state: str
    """``waiting`` (no worker, the next one is due), ``backing off``, ``starting``,
    ``ready``, ``stopping`` or ``killed`` (and not yet gone); ``blocked`` (a service that must
    be ready first is not); ``done`` (ended in success, not to be started again), ``failed``
    (the same, without success) or ``given up`` (the service has failed too often)."""
    pid: int | None
    generation: int | None
    """The reload that the worker has taken up; ``None`` without a worker."""
    since: float
    """Seconds that the state has lasted (0 without a worker)."""
    next_start_in: float | None
    """Seconds until the next start, while there is no worker and one is wanted."""
    failures: int
    """The deaths that the back-off counts."""
    starts: int
    """How many workers this slot has had."""
    deaths: tuple[Death, ...]
    """The last ten deaths in this slot, the newest last."""
    second_pid: int | None = None
    """While the worker is replaced with surge: the other process in this slot."""
    second_state: str | None = None
    """Its state: ``starting`` or ``ready`` for a successor, ``stopping`` for a predecessor."""
    status: str | None = None
    """What the service says that it is doing: see :meth:`cotyledon.Service.status`."""
    heartbeat_age: float | None = None
    """Seconds since the worker's last heartbeat; ``None``: there was none."""
    uptime: float = 0.0
    """Seconds that the worker's process has lived (0 without a worker)."""
    figures: Mapping[str, float] = MappingProxyType({})
    """What it says of itself in numbers, by name: see :meth:`cotyledon.Service.status`."""


class ServiceStatus(NamedTuple):
    """One service and its slots."""

    id: ServiceId
    name: str
    wanted: int
    ready: int
    generation: int
    """The number of reloads asked for so far."""
    reloading: bool
    """Whether a reload has not reached every worker yet."""
    workers: tuple[WorkerStatus, ...]
    rollout_failed: bool = False
    """Whether the last reload or restart has failed; the next one tries again."""
    gave_up: bool = False
    """Whether nothing is started any more, because of too many failures."""
    after: tuple[ServiceId, ...] = ()
    """The services that must be ready before this one starts."""
    removed: bool = False
    """Whether it is forgotten when its last workers have gone."""


class ManagerStatus(NamedTuple):
    """The manager at one instant."""

    pid: int
    state: str
    """``idle`` (before ``run()``), ``running``, ``stopping`` or ``stopped``."""
    services: tuple[ServiceStatus, ...]
