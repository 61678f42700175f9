"""Looking after workers that are not told to end: start timeout, heartbeats, age and memory.

Responsible for what becomes due while a worker is STARTING or READY. Never replaces a worker
itself: one that has grown is flagged for the rollout; one that is silent is asked for its stacks,
and killed if it stays silent.
"""

from cotyledon._core import rollout
from cotyledon._core.board import SECOND, Board
from cotyledon._core.effects import (
    DumpStacks,
    MeasureMemory,
    ReadBeat,
    Reason,
    WorkerReady,
    WorkerRecovered,
    WorkerSilent,
)
from cotyledon._core.state import Phase, Worker

STACKS = SECOND
"""How long a silent worker has to write its stacks down, or to be heard after all."""
ANSWER = SECOND
"""When to ask again for something that was not answered."""


def ready(board: Board, worker: Worker, now: int) -> None:
    """A worker is ready: begin to look after it."""
    slot = worker.slot
    policy = worker.policy
    _heard_after_all(board, worker)
    worker.ready_at = worker.beat = now
    board.enter(worker, Phase.READY, None, now)
    notice = WorkerReady(worker.key, slot.service.key, slot.worker_id, now - worker.started_at)
    board.effects.append(notice)
    if policy.watchdog is not None:
        worker.beat_due = now + round(policy.watchdog * SECOND)
    recycle = policy.recycle
    if recycle is not None:
        if recycle.lifetime is not None:
            lifetime = recycle.lifetime * (1 - recycle.jitter * board.chance())
            worker.retire_at = now + round(max(lifetime, recycle.min_life) * SECOND)
        if recycle.memory is not None:
            first = recycle.every * (1 - recycle.jitter * board.chance())
            worker.measure_at = now + round(max(first, recycle.min_life) * SECOND)
    if not policy.rollout.min_ready:
        rollout.available(board, worker, now)
    _look_again(board, worker)


def look(board: Board, worker: Worker, now: int) -> None:
    """The deadline of a worker that is STARTING or READY has come."""
    if worker.phase is Phase.STARTING:
        if worker.asked_at:
            board.kill(worker, Reason.START_TIMEOUT, now)
        else:
            _ask(board, worker, Reason.START_TIMEOUT, now - worker.started_at, now)
            board.set_deadline(worker, now + STACKS)
        return
    policy = worker.policy
    if not worker.available and now >= _mature_at(worker):
        rollout.available(board, worker, now)
    if worker.beat_due is not None and now >= worker.beat_due:
        worker.beat_due = now + ANSWER
        board.effects.append(ReadBeat(worker.key))
    recycle = policy.recycle
    if recycle is not None:
        if worker.retire_at is not None and now >= worker.retire_at:
            _retire(board, worker)
        elif worker.measure_at is not None and now >= worker.measure_at:
            assert recycle.memory is not None
            worker.measure_at = now + round(recycle.every * SECOND)
            board.effects.append(MeasureMemory(worker.key, recycle.memory))
    _look_again(board, worker)


def heard(board: Board, worker: Worker, at: int, now: int) -> None:
    """The instant of a worker's last heartbeat was looked up."""
    watchdog = worker.policy.watchdog
    if worker.phase is not Phase.READY or watchdog is None:
        return
    worker.beat = max(worker.beat, min(at, now))
    timeout = round(watchdog * SECOND)
    if worker.asked_at:
        # It may have beaten between the look and the question.
        if worker.beat > worker.asked_at or worker.beat + timeout > now:
            _heard_after_all(board, worker)
            worker.beat_due = max(worker.beat + timeout, now + 1)
        elif now >= worker.asked_at + STACKS:
            board.kill(worker, Reason.WATCHDOG, now)
            return
        else:
            worker.beat_due = worker.asked_at + STACKS
    elif worker.beat + timeout > now:
        worker.beat_due = worker.beat + timeout
    else:
        _ask(board, worker, Reason.WATCHDOG, now - worker.beat, now)
        worker.beat_due = now + STACKS
    _look_again(board, worker)


def extended(board: Board, worker: Worker, by: int, now: int) -> None:
    """A worker that is not ready yet has asked for more time."""
    if worker.phase is not Phase.STARTING or worker.deadline is None:
        return
    deadline = now + max(by, 1)
    if not worker.asked_at:
        deadline = max(deadline, worker.deadline)
    _heard_after_all(board, worker)
    board.set_deadline(worker, deadline)


def measured(board: Board, worker: Worker, private: int) -> None:
    """A worker's private memory was looked up."""
    recycle = worker.policy.recycle
    limit = None if recycle is None else recycle.memory
    if worker.phase is Phase.READY and limit is not None and private > limit:
        _retire(board, worker)
        _look_again(board, worker)


def _retire(board: Board, worker: Worker) -> None:
    worker.retire_at = worker.measure_at = None
    board.flag(worker, Reason.RECYCLED)


def _ask(board: Board, worker: Worker, reason: Reason, silent_for: int, now: int) -> None:
    slot = worker.slot
    worker.asked_at = now
    board.effects.append(DumpStacks(worker.key))
    board.effects.append(
        WorkerSilent(worker.key, slot.service.key, slot.worker_id, reason, silent_for)
    )


def _heard_after_all(board: Board, worker: Worker) -> None:
    if worker.asked_at:
        worker.asked_at = 0
        slot = worker.slot
        board.effects.append(WorkerRecovered(worker.key, slot.service.key, slot.worker_id))


def _mature_at(worker: Worker) -> int:
    assert worker.ready_at is not None
    return worker.ready_at + round(worker.policy.rollout.min_ready * SECOND)


def _look_again(board: Board, worker: Worker) -> None:
    """Set the instant at which a ready worker must be looked at next."""
    if worker.phase is not Phase.READY:
        return
    due = [worker.beat_due, worker.retire_at, worker.measure_at]
    if not worker.available:
        due.append(_mature_at(worker))
    board.set_deadline(worker, min((when for when in due if when is not None), default=None))
