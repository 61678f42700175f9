"""The status, derived.

Responsible for turning the core's state and the table of processes into the public snapshot.
Never stores anything.
"""

from collections.abc import Mapping

from cotyledon._core.machine import Core
from cotyledon._core.state import DeathRecord, Slot
from cotyledon._posix.reactor import Child
from cotyledon.status import Death, ManagerStatus, ServiceStatus, WorkerStatus
from cotyledon.types import ServiceId, WorkerId

SECOND = 1e9


def take(
    core: Core,
    now: int,
    pid: int,
    state: str,
    services: Mapping[int, tuple[ServiceId, str]],
    children: Mapping[int, Child],
) -> ManagerStatus:
    """Return what holds at the instant ``now``."""
    names: dict[int, str] = {}
    for child in children.values():
        if child.name is not None:
            names[child.service] = child.name
    return ManagerStatus(
        pid,
        state,
        tuple(
            ServiceStatus(
                services[service.key][0],
                names.get(service.key, services[service.key][1]),
                service.wanted,
                service.ready,
                service.generation,
                service.rolling,
                tuple(
                    _worker(slot, now, children, core.stopping)
                    for slot in service.slots
                    if slot.wanted or slot.worker is not None
                ),
            )
            for service in list(core.services.values())
        ),
    )


def _worker(slot: Slot, now: int, children: Mapping[int, Child], stopping: bool) -> WorkerStatus:
    worker = slot.worker
    deaths = tuple(_death(record, now) for record in slot.deaths)
    if worker is None:
        wait = None if stopping else max(0, slot.not_before - now) / SECOND
        state = "backing off" if wait else "waiting"
        return WorkerStatus(
            WorkerId(slot.worker_id),
            state,
            None,
            None,
            0.0,
            wait,
            slot.failures,
            slot.starts,
            deaths,
        )
    child = children.get(worker.key)
    return WorkerStatus(
        WorkerId(slot.worker_id),
        worker.phase.name.lower(),
        child.process.pid if child is not None else None,
        worker.generation,
        (now - worker.since) / SECOND,
        None,
        slot.failures,
        slot.starts,
        deaths,
    )


def _death(record: DeathRecord, now: int) -> Death:
    return Death(
        record.reason.value,
        record.status,
        (record.died_at - record.started_at) / SECOND,
        (now - record.died_at) / SECOND,
    )
