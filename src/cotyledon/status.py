"""What people are told about a manager: immutable snapshots.

Responsible for the shape of :meth:`cotyledon.ServiceManager.status`. Never holds state of
its own: a snapshot is derived from the core and from the table of processes when it is asked
for. New fields are added at the end. Times are seconds.
"""

from typing import NamedTuple

from cotyledon.types import ServiceId, WorkerId


class Death(NamedTuple):
    """How and why one worker ended."""

    reason: str
    """``exit`` (by itself), ``signal``, ``spawn failed``, ``reload``, ``scaled down``,
    ``stopped``, ``stop timeout`` (killed at a deadline) or ``aborted``."""
    exit_code: int | None
    """The exit status, or minus the number of the signal; ``None``: it never started, or
    its status was taken by a foreign ``waitpid``."""
    uptime: float
    """Seconds from its start to its end."""
    ago: float
    """Seconds from its end to the snapshot."""


class WorkerStatus(NamedTuple):
    """One slot of a service: the worker in it, or the wait for the next one."""

    worker_id: WorkerId
    state: str
    """``waiting`` (no worker, the next one is due), ``backing off``, ``starting``,
    ``ready``, ``stopping`` or ``killed`` (and not yet gone)."""
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
    """The last deaths in this slot, the newest last."""


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


class ManagerStatus(NamedTuple):
    """The manager at one instant."""

    pid: int
    state: str
    """``idle`` (before ``run()``), ``running``, ``stopping`` or ``stopped``."""
    services: tuple[ServiceStatus, ...]
