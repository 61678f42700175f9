"""The status, derived.

Responsible for turning the core's state and the table of processes into the public snapshot.
Never stores anything.
"""

from collections.abc import Callable, Mapping

from cotyledon._core.machine import Core
from cotyledon._core.state import DeathRecord, ServiceState, Slot, Worker
from cotyledon._posix.children import Child
from cotyledon._telling import public_death
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
    names: Mapping[int, str],
    beat: Callable[[int], int] | None,
) -> ManagerStatus:
    """Return what holds at the instant ``now``; ``beat`` tells the last heartbeat of a place."""
    return ManagerStatus(
        pid,
        state,
        tuple(
            ServiceStatus(
                services[service.key][0],
                names.get(service.key) or services[service.key][1],
                service.wanted,
                service.ready,
                service.generation,
                service.rolling,
                tuple(
                    _worker(slot, now, children, core.stopping, beat)
                    for slot in service.slots
                    if slot.wanted or slot.worker is not None or slot.second is not None
                ),
                service.rollout_failed,
                service.gave_up,
                tuple(services[one.key][0] for one in service.after),
                service.removed,
            )
            for service in list(core.services.values())
        ),
    )


def _worker(
    slot: Slot,
    now: int,
    children: Mapping[int, Child],
    stopping: bool,
    beat: Callable[[int], int] | None,
) -> WorkerStatus:
    worker, second = slot.worker, slot.second
    deaths = tuple(_death(record, now) for record in slot.deaths)
    second_pid, second_state = None, None
    if second is not None:
        second_pid, second_state = _pid(second, children), second.phase.name.lower()
    if worker is None:
        wait = max(0, slot.not_before - now) / SECOND
        state = _empty(slot, waits=wait > 0 and not stopping)
        due = slot.startable and not stopping
        return WorkerStatus(
            WorkerId(slot.worker_id),
            state,
            None,
            None,
            0.0,
            wait if due else None,
            slot.failures,
            slot.starts,
            deaths,
            second_pid,
            second_state,
            figures={},  # of its own: the default is of a type that does not pickle
        )
    child = children.get(worker.key)
    beaten_at = 0 if child is None or beat is None else beat(child.place)
    return WorkerStatus(
        WorkerId(slot.worker_id),
        worker.phase.name.lower(),
        None if child is None else child.process.pid,
        worker.generation,
        (now - worker.since) / SECOND,
        None,
        slot.failures,
        slot.starts,
        deaths,
        second_pid,
        second_state,
        None if child is None else child.status,
        max(0, now - beaten_at) / SECOND if beaten_at else None,
        (now - worker.started_at) / SECOND,
        {} if child is None else child.figures,
    )


def _empty(slot: Slot, *, waits: bool) -> str:
    service: ServiceState = slot.service
    if slot.ending is not None:
        return slot.ending.value
    if service.gave_up:
        return "given up"
    if not service.open:
        return "blocked"
    return "backing off" if waits else "waiting"


def _pid(worker: Worker, children: Mapping[int, Child]) -> int | None:
    child = children.get(worker.key)
    return child.process.pid if child is not None else None


def _death(record: DeathRecord, now: int) -> Death:
    return public_death(
        record.reason,
        record.status,
        record.died_at - record.started_at,
        now - record.died_at,
        None if record.wait is None else record.wait / SECOND,
        record.failures,
        record.account,
    )
