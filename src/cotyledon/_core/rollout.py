"""Replacing the workers of a service without losing capacity: reload, restart, recycling.

Responsible for how many are replaced at a time, for successors, and for saying that a rollout has
finished or failed. Never starts a worker itself: it marks slots, and the machine starts.

A worker is *available* once it has been ready for ``min_ready``. Of those that are wanted, at most
``max_unavailable`` are missing because of a rollout; beyond them there are at most ``max_surge``
processes.
"""

from cotyledon._core.board import SECOND, Board
from cotyledon._core.effects import Reason, Reload, RolloutFailed, RolloutFinished
from cotyledon._core.state import Phase, ServiceState, Slot, Worker


def begin(board: Board, service: ServiceState, now: int, *, renew: bool) -> None:
    """Bring a service to a new generation; with ``renew``, by new workers in any case."""
    service.generation += 1
    if renew:
        service.renew = service.generation
    service.rolling = True
    service.rollout_failed = False
    board.to_roll[service] = None
    progress(board, service, now)


def progress(board: Board, service: ServiceState, now: int) -> None:
    """The rollout goes on, or may begin: its clock starts anew."""
    if service.rolling and service.open:
        service.progress_by = now + round(service.policy.rollout.progress_deadline * SECOND)
        board.hint(service.progress_by, service)


def available(board: Board, worker: Worker, now: int) -> None:
    """A worker counts from now on; a successor takes its place."""
    slot = worker.slot
    service = slot.service
    board.make_available(worker)
    if slot.second is worker:
        old = board.promote(slot)
        if old is not None and old.phase < Phase.STOPPING:
            board.terminate(old, _reason(old), now)
    if worker.generation == service.generation:
        progress(board, service, now)
    board.touch(slot)


def roll(board: Board, service: ServiceState, now: int) -> None:
    """Replace, or reload, as many workers as may be at this instant."""
    if not (service.rolling or service.replacing):
        return
    if board.stopping or board.escalated or service.gave_up or service.removed:
        return  # nothing would be started in the place of what goes
    limits = service.policy.rollout
    expected = service.wanted - service.done  # what has ended in failure is missing
    spare = limits.allowed(service.wanted) - expected + service.available
    surge = surging = limits.surge(service.wanted)
    if surging:
        surge -= sum(slot.surging or slot.second is not None for slot in service.slots)
    behind = False
    for slot in service.slots:
        worker = slot.worker
        if slot.second is not None:
            _drop_outdated(board, slot, now)
        if worker is None or worker.phase >= Phase.STOPPING:
            continue
        stale = service.rolling and worker.generation < service.generation
        if stale:
            behind = True
            if worker.born >= service.renew and worker.reloads is not False:
                _reload(board, worker)
                continue
        elif worker.replace is None:
            continue
        if worker.phase is Phase.STARTING:
            board.terminate(worker, _reason(worker), now)  # costs no capacity
        elif slot.second is not None or slot.surging or slot.barren:
            continue  # its successor is on the way, its predecessor has not left; or it is no use
        elif surging and slot.not_before > now:
            board.hint(slot.not_before, slot)  # its last successor has just failed
        elif surge > 0:
            slot.surging = True
            board.startable[slot] = None
            surge -= 1
        elif not worker.available or spare > 0:
            spare -= worker.available
            board.terminate(worker, _reason(worker), now)
    if service.rolling and not behind and service.available >= expected:
        service.rolling = False
        service.progress_by = None
        board.effects.append(RolloutFinished(service.key, service.generation))


def surges(service: ServiceState) -> bool:
    """Whether there may be more processes than are wanted."""
    return service.policy.rollout.surge(service.wanted) > 0


def fail(board: Board, service: ServiceState, now: int, *, gave_up: bool) -> None:
    """End a rollout that does not go on; what still runs old is kept."""
    if not service.rolling:
        return
    service.rolling = False
    service.rollout_failed = True
    service.progress_by = None
    if service.replacing:
        board.to_roll[service] = None  # what has to be recycled has waited for the rollout
    behind = 0
    for slot in service.slots:
        worker, second = slot.worker, slot.second
        if worker is None or worker.phase >= Phase.STOPPING:
            continue
        behind += worker.generation < service.generation
        if worker.replace is None:
            slot.surging = False
            if second is not None and second.phase < Phase.STOPPING:
                board.terminate(second, Reason.RELOAD, now)
    board.effects.append(RolloutFailed(service.key, service.generation, behind, gave_up))


def _reload(board: Board, worker: Worker) -> None:
    generation = worker.slot.service.generation
    # One that cannot be known to reload yet will say so when it is ready.
    if worker.reloads and worker.told < generation:
        worker.told = generation
        board.effects.append(Reload(worker.key, generation))


def _reason(worker: Worker) -> Reason:
    service = worker.slot.service
    if service.rolling and worker.born < service.renew:
        return Reason.RESTART
    return worker.replace or Reason.RELOAD


def _drop_outdated(board: Board, slot: Slot, now: int) -> None:
    second = slot.second
    if (
        second is not None
        and second.phase < Phase.STOPPING
        and second.generation < slot.service.generation
    ):
        if second.born >= slot.service.renew and second.reloads is not False:
            _reload(board, second)
        else:
            board.terminate(second, Reason.RELOAD, now)
