"""What the end of a worker means: its reason, whether another follows it and when.

Responsible for the restart policy, the back-off, the intensity and the record of a death. Never
starts a worker: the slot is touched, and the machine settles it.
"""

from collections.abc import Iterable

from cotyledon._core import backoff, rollout
from cotyledon._core.board import SECOND, Board
from cotyledon._core.effects import Escalation, GaveUp, Reason, WorkerDied
from cotyledon._core.events import Exited
from cotyledon._core.state import DeathRecord, Ending, ServiceState, Slot, Worker

FAULTS = (Reason.WATCHDOG, Reason.START_TIMEOUT)
"""What a worker is killed for and that counts as its own failure."""


def bury(board: Board, worker: Worker, event: Exited | None, now: int) -> None:
    """Take a worker off the board, and decide what follows.

    Args:
        board: changed.
        worker: it is gone.
        event: how it ended; ``None``: it never began.
        now: this instant.
    """
    slot = worker.slot
    service = slot.service
    first = slot.worker is worker
    failure = worker.cause is None or worker.cause in FAULTS
    success = worker.cause is None and event is not None and event.status in service.policy.success
    board.leave(worker)
    wait = 0
    if failure:
        wait = _back_off(board, worker, now)
    elif first:
        slot.not_before = 0
    if failure and event is not None and not board.stopping:
        alone = first and slot.worker is None
        _judge(board, worker, event.status, success, now, alone=alone)
    respawns = slot.worker is None and slot.startable and not (board.stopping or board.escalated)
    reason = _reason(worker, event)
    status = None if event is None else event.status
    account = None if event is None else event.account
    next_in = wait if respawns else None
    slot.deaths.append(
        DeathRecord(reason, status, worker.started_at, now, next_in, slot.failures, account)
    )
    board.touch(slot)
    board.effects.append(
        WorkerDied(
            worker.key,
            service.key,
            slot.worker_id,
            reason,
            status,
            now - worker.started_at,
            next_in,
            slot.failures,
            board.stopping,
            account,
        )
    )


def forgive(board: Board, service: ServiceState, anew: Iterable[Slot] = ()) -> None:
    """Forget past failures, because somebody asks for it; in the slots ``anew``, success too."""
    for slot in anew:
        board.reopen(slot)
    service.gave_up = False
    service.failed_at.clear()
    for slot in service.slots:
        slot.failures = 0
        slot.not_before = 0
        if slot.ending is Ending.FAILED:
            board.reopen(slot)
        if slot.worker is None or slot.barren:
            slot.barren = False
            board.touch(slot)


def is_done(service: ServiceState) -> bool:
    """Tell whether a service has ended for good."""
    if service.alive or not service.wanted:
        return False
    return service.gave_up or service.ended == service.wanted


def _reason(worker: Worker, event: Exited | None) -> Reason:
    if event is None:
        return Reason.SPAWN_FAILED
    if worker.cause is not None:
        return worker.cause
    if event.dumped:
        return Reason.CORE_DUMP
    if event.out_of_memory:
        return Reason.OUT_OF_MEMORY
    by_signal = event.status is not None and event.status < 0
    return Reason.SIGNAL if by_signal else Reason.EXIT


def _back_off(board: Board, worker: Worker, now: int) -> int:
    slot = worker.slot
    policy = slot.service.policy.backoff
    lived = 0 if worker.ready_at is None else now - worker.ready_at
    slot.failures = backoff.count(slot.failures, lived, policy)
    wait = backoff.delay(slot.failures, policy, board.chance())
    slot.not_before = now + wait
    return wait


def _judge(
    board: Board, worker: Worker, status: int | None, success: bool, now: int, *, alone: bool
) -> None:
    """Apply the restart policy and the intensity to an end that was not asked for."""
    slot = worker.slot
    service = slot.service
    policy = service.policy
    hopeless = worker.cause is None and status in policy.no_retry
    if not alone:
        # Its predecessor or its successor is there, or has been and is followed by another one.
        if hopeless and worker.generation == service.generation:
            if slot.worker is not None and slot.worker.key < worker.key:
                slot.barren = True  # its successor will be no better next time
            rollout.fail(board, service, now, gave_up=True)
    elif not slot.wanted:
        pass  # it has been scaled away; should it be wanted again, it starts afresh
    elif hopeless:
        board.end(slot, Ending.FAILED)
        board.effects.append(GaveUp(service.key, slot.worker_id, status))
    elif policy.restart == "never" or (policy.restart == "on-failure" and success):
        board.end(slot, Ending.DONE if success else Ending.FAILED)
    if slot.ending is Ending.FAILED:
        rollout.fail(board, service, now, gave_up=True)  # it will not reach this slot
    if not success:
        _count_failure(board, service, status, now)


def _count_failure(board: Board, service: ServiceState, status: int | None, now: int) -> None:
    intensity = service.policy.intensity
    if intensity is None or service.gave_up:
        return
    recent = service.failed_at
    recent.append(now)
    while recent[0] <= now - round(intensity.within * SECOND):
        recent.popleft()
    if len(recent) > intensity.failures:
        service.gave_up = True
        board.effects.append(GaveUp(service.key, None, status))
        rollout.fail(board, service, now, gave_up=True)
        if intensity.then == "stop":
            board.escalate(service, 1, Escalation.INTENSITY)
