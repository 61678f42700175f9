"""Workers that are silent: the start timeout and the watchdog; and looks at their memory.

Responsible for when a worker may be asked, killed or looked at, and when it must be.
"""

from collections.abc import Sequence

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Reason
from cotyledon.testing._books import SECOND, Books, Violation, WorkerBook
from cotyledon.testing._judges import Judge

STACKS = SECOND
SILENT_FOR = 3 * SECOND
"""How long after its timeout a silent worker may live, if no answer is lost."""


class Health(Judge):
    """Judges what is done about workers that nobody has told to end."""

    def __init__(self, books: Books) -> None:
        super().__init__(books)
        self._asked: dict[int, WorkerBook] = {}  # for stacks, and not yet called silent
        self._recovering: dict[int, WorkerBook] = {}
        self._condemned: dict[int, WorkerBook] = {}  # an answer has shown that it is silent

    # Events

    def _ready(self, now: int, event: ev.Ready) -> None:
        worker = self.books.workers.get(event.worker)
        if worker is not None and worker.ready_at == now and not worker.ending:
            self._heard(worker)

    def _extended(self, now: int, event: ev.Extended) -> None:
        worker = self.books.workers.get(event.worker)
        if worker is None or worker.ready_at is not None or worker.ending:
            return
        if worker.start_by is not None:
            until = now + max(event.by, 1)
            worker.start_by = max(until, worker.start_by) if worker.asked_at is None else until
            self._heard(worker)

    def _heartbeat(self, now: int, event: ev.Heartbeat) -> None:
        worker = self.books.workers.get(event.worker)
        if worker is None or worker.ready_at is None or worker.ending:
            return
        timeout = self._timeout(worker)
        if timeout is None:
            return
        worker.looked_at = None
        at = min(event.at, now)
        worker.beat = max(worker.beat, at)
        if worker.beat + timeout > now:
            worker.lost = 0
        if worker.asked_at is None:
            if now - worker.beat >= timeout:
                self._condemned[worker.key] = worker
        elif worker.beat > worker.asked_at or now - worker.beat < timeout:
            self._heard(worker)
        elif now >= worker.asked_at + STACKS:
            self._condemned[worker.key] = worker

    def _heard(self, worker: WorkerBook) -> None:
        if worker.asked_at is not None:
            worker.asked_at = None
            worker.recovers = True
            self._recovering[worker.key] = worker

    def _measured(self, now: int, event: ev.Measured) -> None:
        worker = self.books.workers.get(event.worker)
        if worker is not None and worker.ready_at is not None and not worker.ending:
            recycle = worker.policy.recycle
            limit = None if recycle is None else recycle.memory
            if limit is not None and event.private > limit and worker.grown_at is None:
                worker.grown_at = now

    # Effects

    @staticmethod
    def _timeout(worker: WorkerBook) -> int | None:
        watchdog = worker.policy.watchdog
        return None if watchdog is None else round(watchdog * SECOND)

    def _dump(self, now: int, effect: fx.DumpStacks) -> None:
        worker = self._living(effect.worker, "asked for its stacks")
        if worker.asked_at is not None:
            raise Violation(f"worker {worker.key} was asked twice for its stacks")
        worker.dumped_at = now
        self._asked[worker.key] = worker

    def _silent(self, now: int, effect: fx.WorkerSilent) -> None:
        worker = self._living(effect.worker, "called silent")
        if self._asked.pop(worker.key, None) is None:
            raise Violation("a worker was called silent that was not asked for its stacks")
        self._condemned.pop(worker.key, None)
        if effect.reason is Reason.START_TIMEOUT:
            since = worker.spawned_at
            if worker.ready_at is not None or worker.start_by is None or now < worker.start_by:
                raise Violation("a worker was called late before its start timeout")
        else:
            since = worker.beat
            timeout = self._timeout(worker)
            if worker.ready_at is None or timeout is None or now - since < timeout:
                raise Violation("a worker was called silent before its time")
        if effect.silent_for != now - since:
            raise Violation(f"a worker was called silent for {effect.silent_for} ns")
        worker.asked_at = now

    def _recovered(self, now: int, effect: fx.WorkerRecovered) -> None:
        if self._recovering.pop(effect.worker, None) is None:
            raise Violation("a worker was called recovered that is not")

    def _kill(self, now: int, effect: fx.Kill) -> None:
        if effect.reason not in {Reason.WATCHDOG, Reason.START_TIMEOUT}:
            return
        worker = self.books.known(effect.worker, "Kill")
        if worker.killed:
            return  # again, because it is still there
        if worker.told_at is not None:
            raise Violation("a worker that was told to stop was killed for its silence")
        if worker.asked_at is None or now < worker.asked_at + STACKS:
            raise Violation("a worker was killed before it could write its stacks down")
        if effect.reason is Reason.START_TIMEOUT:
            if worker.ready_at is not None:
                raise Violation("a worker that is ready was killed for its start timeout")
            return
        self._condemned.pop(worker.key, None)
        timeout = self._timeout(worker)
        assert timeout is not None
        if worker.beat > worker.asked_at or now - worker.beat < timeout:
            raise Violation("a worker was killed by the watchdog though it was heard")

    def _read_beat(self, now: int, effect: fx.ReadBeat) -> None:
        worker = self._living(effect.worker, "looked at")
        timeout = self._timeout(worker)
        if worker.ready_at is None or timeout is None:
            raise Violation("a heartbeat was looked up that nobody needs")
        due = worker.beat + timeout
        if worker.asked_at is not None:
            due = worker.asked_at + STACKS
        if worker.looked_at is not None:
            due = max(due, worker.looked_at + SECOND)
            worker.lost += 1
        if now < due:
            raise Violation("a heartbeat was looked up too often")
        worker.looked_at = now

    def _measure(self, now: int, effect: fx.MeasureMemory) -> None:
        worker = self._living(effect.worker, "measured")
        recycle = worker.policy.recycle
        if worker.ready_at is None or recycle is None or recycle.memory is None:
            raise Violation("a memory was looked up that nobody needs")
        if effect.limit != recycle.memory:
            raise Violation("a memory was looked up for a wrong limit")
        due = worker.ready_at + round(recycle.min_life * SECOND)
        if worker.measured_at is not None:
            due = max(due, worker.measured_at + round(recycle.every * SECOND))
        if now < due:
            raise Violation("a memory was looked up too often")
        worker.measured_at = now

    def _living(self, key: int, what: str) -> WorkerBook:
        worker = self.books.known(key, what)
        if worker.ending:
            raise Violation(f"worker {key} was {what} though it is ending")
        return worker

    # Moments

    def inspect(self, now: int) -> None:
        """Silence has consequences, in bounded time; memory is looked at."""
        for worker in self.books.workers.values():
            if worker.ending:
                continue
            if worker.ready_at is None:
                self._check_start(worker, now)
            else:
                self._check_ready(worker, now)

    def _check_start(self, worker: WorkerBook, now: int) -> None:
        if worker.start_by is None:
            return
        due = worker.start_by if worker.asked_at is None else worker.asked_at + STACKS
        if now > due + self.books.punctual:
            raise Violation(f"worker {worker.key} has outlived its start timeout")

    def _check_ready(self, worker: WorkerBook, now: int) -> None:
        policy = worker.policy
        punctual = self.books.punctual
        if policy.watchdog is not None:
            patience = SILENT_FOR + worker.lost * SECOND + punctual
            if now > worker.beat + round(policy.watchdog * SECOND) + patience:
                raise Violation(f"worker {worker.key} is silent and lives on")
        recycle = policy.recycle
        if recycle is None or recycle.memory is None or worker.retired(now):
            return
        if worker.measured_at is None:
            assert worker.ready_at is not None
            due = worker.ready_at + round(max(recycle.every, recycle.min_life) * SECOND)
        else:
            due = worker.measured_at + round(recycle.every * SECOND)
        if now > due + punctual:
            raise Violation(f"the memory of worker {worker.key} was not looked at")

    def after(self, now: int, events: Sequence[ev.Event]) -> None:
        """Nothing was left unsaid."""
        if self._asked:
            raise Violation(f"it was not told that {sorted(self._asked)} are silent")
        if self._condemned:
            for key, worker in self._condemned.items():
                if not worker.ending and key in self.books.workers:
                    raise Violation(f"worker {key} was seen silent, and nothing followed")
            self._condemned.clear()
        if self._recovering:
            raise Violation(f"it was not told that {sorted(self._recovering)} have recovered")

    EVENTS = {  # noqa: RUF012 - declared by the base class
        ev.Ready: _ready,
        ev.Extended: _extended,
        ev.Heartbeat: _heartbeat,
        ev.Measured: _measured,
    }
    EFFECTS = {  # noqa: RUF012 - declared by the base class
        fx.DumpStacks: _dump,
        fx.WorkerSilent: _silent,
        fx.WorkerRecovered: _recovered,
        fx.Kill: _kill,
        fx.ReadBeat: _read_beat,
        fx.MeasureMemory: _measure,
    }
