"""The page that says what happens when: each row is a check of the core, or names a test."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cotyledon import Intensity, Policy, Recycle, Rollout, Start
from cotyledon._core import events as ev
from cotyledon._core.effects import (
    AllReady,
    DumpStacks,
    Effect,
    Exit,
    GaveUp,
    Kill,
    MeasureMemory,
    ReadBeat,
    Reload,
    RolloutFailed,
    RolloutFinished,
    Spawn,
    StopManager,
    Terminate,
    Unkillable,
    WorkerDied,
    WorkerRecovered,
    WorkerSilent,
)
from cotyledon._core.machine import Core
from cotyledon._core.state import Ending, Phase, Worker
from tests.test_docs_compatibility import find_tests

SECOND = 1_000_000_000
PAGE = Path(__file__).resolve().parent.parent / "docs" / "what-happens-when.md"
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}
"""The rows by id: situation, policy, what happens, reason."""


class World:
    """A core, and a clock that moves only when it is told to."""

    def __init__(self, grace: float = 60.0, chance: float = 0.0) -> None:
        self.core = Core(grace=round(grace * SECOND), spawn_interval=0, chance=lambda: chance)
        self.now = SECOND
        self.log: list[tuple[float, Effect]] = []
        self._services = 0

    # What happens

    def tell(self, *events: ev.Event) -> list[Effect]:
        """Give the core events, and return what it answers."""
        effects = self.core.step(self.now, events)
        self.log += [(self.seconds, effect) for effect in effects]
        return effects

    def run(self, seconds: float) -> list[Effect]:
        """Let time pass, and return what the core does of itself."""
        before = len(self.log)
        until = self.now + round(seconds * SECOND)
        while (due := self.core.next_deadline()) is not None and due <= until:
            self.now = max(due, self.now)
            self.tell()
        self.now = until
        return [effect for _, effect in self.log[before:]]

    def add(
        self,
        workers: int = 1,
        policy: Policy | None = None,
        *,
        grace: float | None = None,
        reloads: bool = False,
        after: tuple[int, ...] = (),
    ) -> int:
        """Add a service, and return its number."""
        number = self._services
        self._services += 1
        own = None if grace is None else round(grace * SECOND)
        event = ev.ServiceAdded(number, workers, own, reloads, policy or Policy(), after)
        self.tell(event)
        return number

    def up(self, workers: int = 1, policy: Policy | None = None, **more: object) -> int:
        """Add a service, whose workers are ready at once."""
        number = self.add(workers, policy, **more)  # type: ignore[arg-type]
        self.ready()
        return number

    def ready(self) -> list[Effect]:
        """Let every worker that starts become ready."""
        return self.tell(
            *(
                ev.Ready(worker.key, bool(worker.reloads), worker.grace)
                for worker in self.core.workers.values()
                if worker.phase is Phase.STARTING
            )
        )

    def exit(self, worker: Worker, status: int | None = 1, **how: bool) -> list[Effect]:
        """End a worker's process."""
        return self.tell(ev.Exited(worker.key, status, **how))

    def obey(self, status: int = 0) -> list[Effect]:
        """End every process that was told to end, or killed."""
        return self.tell(
            *(
                ev.Exited(w.key, -9 if w.phase is Phase.KILLED else status)
                for w in self.core.workers.values()
                if w.phase >= Phase.STOPPING
            )
        )

    # What is there

    @property
    def seconds(self) -> float:
        return (self.now - SECOND) / SECOND

    def worker(self, service: int = 0, worker_id: int = 0) -> Worker:
        """Return the worker in a slot."""
        found = self.core.services[service].slots[worker_id].worker
        assert found is not None
        return found

    def ending(self, service: int = 0, worker_id: int = 0) -> Ending | None:
        return self.core.services[service].slots[worker_id].ending

    def alive(self, service: int = 0) -> int:
        return self.core.services[service].alive

    def running(self, service: int = 0) -> int:
        return self.core.services[service].ready

    def when(self, kind: type) -> list[float]:
        """Return the seconds at which the core has said something of a kind."""
        return [round(when, 3) for when, effect in self.log if isinstance(effect, kind)]

    def reason(self) -> str:
        """Return why the last worker ended."""
        died = [effect for _, effect in self.log if isinstance(effect, WorkerDied)]
        return died[-1].reason.value


Check = Callable[[World], str | None]
CHECKS: dict[str, Check] = {}
BROKEN: dict[str, str] = {}
"""Rows that the core does not keep yet, and why."""


def shows(row: str, *, broken: str = "") -> Callable[[Check], Check]:
    """Make a function the check of a row; it returns the reason of the death, if there is one."""

    def register(check: Check) -> Check:
        assert row not in CHECKS, row
        CHECKS[row] = check
        if broken:
            BROKEN[row] = broken
        return check

    return register


def has(effects: list[Effect], *kinds: type) -> list[Effect]:
    """Return the effects of these kinds."""
    return [effect for effect in effects if isinstance(effect, kinds)]


# Ends, and what follows them


@shows("exit-0")
def _(world: World) -> str:
    world.up(1, Policy(intensity=Intensity(0, 60)))
    effects = world.exit(world.worker(), 0)
    assert has(effects, Spawn)
    assert not has(effects, GaveUp)
    return world.reason()


@shows("exit-1")
def _(world: World) -> str:
    world.up(1, Policy(restart="on-failure"))
    assert has(world.exit(world.worker(), 1), Spawn)
    return world.reason()


@shows("exit-0-on-failure")
def _(world: World) -> str:
    world.up(1, Policy(restart="on-failure"))
    assert not has(world.exit(world.worker(), 0), Spawn)
    assert not has(world.run(1000), Spawn)
    assert world.ending() is Ending.DONE
    world.tell(ev.ReloadRequested())
    assert not world.alive()
    assert has(world.tell(ev.RestartRequested(0)), Spawn)
    return world.reason()


@shows("exit-0-never")
def _(world: World) -> str:
    world.up(1, Policy(restart="never"))
    assert not has(world.exit(world.worker(), 0), Spawn)
    assert world.ending() is Ending.DONE
    return world.reason()


@shows("exit-1-never")
def _(world: World) -> str:
    world.up(1, Policy(restart="never"))
    effects = world.exit(world.worker(), 1)
    assert not has(effects, Spawn, GaveUp)
    assert not has(world.run(1000), Spawn)
    assert world.ending() is Ending.FAILED
    assert has(world.tell(ev.ReloadRequested()), Spawn)
    return world.reason()


@shows("success")
def _(world: World) -> str:
    world.up(1, Policy(restart="on-failure", success=(0, 3)))
    world.exit(world.worker(), 3)
    assert world.ending() is Ending.DONE
    return world.reason()


@shows("no-retry")
def _(world: World) -> str:
    world.up(2)
    effects = world.exit(world.worker(0, 1), 78)
    assert has(effects, GaveUp) == [GaveUp(0, 1, 78)]
    assert not has(world.run(1000), Spawn)
    assert world.running() == 1
    assert has(world.tell(ev.ReloadRequested()), Spawn)
    return world.reason()


@shows("no-retry-off")
def _(world: World) -> str:
    world.up(1, Policy(no_retry=()))
    effects = world.exit(world.worker(), 78)
    assert has(effects, Spawn)
    assert not has(effects, GaveUp)
    return world.reason()


@shows("signal")
def _(world: World) -> str:
    world.up()
    assert has(world.exit(world.worker(), -9), Spawn)
    return world.reason()


@shows("core-dump")
def _(world: World) -> str:
    world.up()
    assert has(world.exit(world.worker(), -11, dumped=True), Spawn)
    return world.reason()


@shows("out-of-memory")
def _(world: World) -> str:
    world.up()
    assert has(world.exit(world.worker(), -9, out_of_memory=True), Spawn)
    return world.reason()


@shows("stolen")
def _(world: World) -> str:
    world.up(1, Policy(restart="on-failure", intensity=Intensity(1, 60)))
    assert has(world.exit(world.worker(), None), Spawn)
    world.exit(world.worker(), None)
    assert world.when(GaveUp)
    return world.reason()


@shows("again")
def _(world: World) -> str:
    world.up(2)
    for wait in (0, 0.5, 1, 2, 4, 8, 16, 30, 30):
        died = world.seconds
        world.exit(world.worker())
        world.run(30)
        assert world.when(Spawn)[-1] == pytest.approx(died + wait)
        world.ready()
    assert world.alive() == 2
    return world.reason()


@shows("long-life")
def _(world: World) -> str:
    world.up()
    for _ in range(3):
        assert has(world.exit(world.worker()), Spawn)
        world.ready()
        world.run(30)
    return world.reason()


@shows("spawn-failed")
def _(world: World) -> str:
    world.add(1, Policy(restart="never", intensity=Intensity(0, 60)))
    for wait in (0, 0.5, 1):
        failed = world.seconds
        world.tell(ev.SpawnFailed(world.worker().key))
        world.run(10)
        assert world.when(Spawn)[-1] == pytest.approx(failed + wait)
    assert not world.when(GaveUp)
    return world.reason()


# Too many failures, and services that matter


@shows("intensity")
def _(world: World) -> str:
    world.up(8, Policy(intensity=Intensity(5, 60)))
    for worker_id in range(6):
        assert not world.when(GaveUp)
        effects = world.exit(world.worker(0, worker_id))
        world.run(0.001)
    assert has(effects, GaveUp) == [GaveUp(0, None, 1)]
    world.run(1000)
    assert world.alive() == 7  # the five replacements, and two that never failed
    return world.reason()


@shows("intensity-old")
def _(world: World) -> str:
    world.up(1, Policy(intensity=Intensity(1, 60)))
    for _ in range(5):
        world.exit(world.worker())
        world.ready()
        world.run(60)
    assert not world.when(GaveUp)
    return world.reason()


@shows("intensity-stop")
def _(world: World) -> str:
    world.up(1, Policy(intensity=Intensity(0, 60, then="stop")))
    (stop,) = has(world.exit(world.worker(), 1), StopManager)
    assert isinstance(stop, StopManager)
    assert stop.status == 1
    assert not has(world.run(100), Spawn)
    assert world.tell(ev.StopRequested()) == [Exit(1)]
    return world.reason()


@shows("intensity-cleared")
def _(world: World) -> None:
    for request in (ev.ReloadRequested(), ev.ScaleRequested(0, 2), ev.RestartRequested(0)):
        world = World()
        world.up(2, Policy(intensity=Intensity(0, 60)))
        world.exit(world.worker(0, 0))
        assert world.alive() == 1
        assert has(world.tell(request), Spawn)


@shows("gave-up-recycling")
def _(world: World) -> None:
    recycle = Recycle(lifetime=100, min_life=0, jitter=0)
    world.up(8, Policy(intensity=Intensity(0, 60), recycle=recycle))
    world.exit(world.worker(0, 0))
    world.run(1000)
    assert not world.when(Terminate)
    assert world.running() == 7


@shows("significant")
def _(world: World) -> str:
    world.up(2, Policy(restart="on-failure", significant=True))
    world.up(1)
    assert not has(world.exit(world.worker(0, 0), 0), StopManager)
    (stop,) = has(world.exit(world.worker(0, 1), 0), StopManager)
    assert isinstance(stop, StopManager)
    assert stop.status == 0
    reason = world.reason()
    world.tell(ev.StopRequested())
    assert world.obey()[-1] == Exit(0)
    return reason


@shows("significant-failed")
def _(world: World) -> str:
    world.up(2, Policy(restart="never", significant=True))
    world.exit(world.worker(0, 0), 1)
    world.exit(world.worker(0, 1), 0)
    assert world.tell(ev.StopRequested()) == [Exit(1)]
    return world.reason()


# Starting


@shows("start-timeout")
def _(world: World) -> str:
    world.add(1, Policy(start=Start(timeout=10)))
    worker = world.worker()
    world.run(10)
    assert world.when(DumpStacks) == world.when(WorkerSilent) == [10]
    world.run(1)
    assert world.when(Kill) == [11]
    assert has(world.exit(worker, -9), Spawn)
    return world.reason()


@shows("start-late")
def _(world: World) -> None:
    world.add(1, Policy(start=Start(timeout=10)))
    world.run(10.9)
    assert has(world.ready(), WorkerRecovered)
    assert not has(world.run(1000), Kill)


@shows("extend")
def _(world: World) -> None:
    world.add(1, Policy(start=Start(timeout=10)))
    world.run(5)
    world.tell(ev.Extended(world.worker().key, 20 * SECOND))
    world.run(100)
    assert world.when(WorkerSilent) == [25]


@shows("never-ready")
def _(world: World) -> str:
    world.add(1, Policy(start=Start("told")))
    assert not world.run(10_000)
    world.tell(ev.ReloadRequested())
    assert has(world.obey(), Spawn)
    return world.reason()


# Heartbeats


@shows("silent")
def _(world: World) -> str:
    world.up(1, Policy(watchdog=15))
    beat = world.now + 10 * SECOND
    worker = world.worker()
    for _ in range(26):
        if has(world.run(1), ReadBeat):
            world.tell(ev.Heartbeat(worker.key, beat))
    assert world.when(DumpStacks) == world.when(WorkerSilent) == [25]
    assert world.when(Kill) == [26]
    assert has(world.exit(worker, -9), Spawn)
    return world.reason()


@shows("silent-never-beat")
def _(world: World) -> None:
    world.up(1, Policy(watchdog=15))
    world.run(15)
    assert has(world.tell(ev.Heartbeat(world.worker().key, 0)), WorkerSilent)


@shows("silent-recovers")
def _(world: World) -> None:
    world.up(1, Policy(watchdog=15))
    key = world.worker().key
    world.run(15)
    world.tell(ev.Heartbeat(key, 0))
    world.run(1)
    assert world.when(WorkerSilent) == [15]
    assert has(world.tell(ev.Heartbeat(key, world.now - SECOND // 2)), WorkerRecovered)
    assert not world.when(Kill)


@shows("late-master")
def _(world: World) -> None:
    world.up(1, Policy(watchdog=15))
    world.now += 3600 * SECOND
    assert has(world.tell(), ReadBeat)
    assert not world.tell(ev.Heartbeat(world.worker().key, world.now - 14 * SECOND))


@shows("silent-in-stop")
def _(world: World) -> None:
    world.up(1, Policy(watchdog=15))
    world.tell(ev.StopRequested())
    assert not has(world.run(59), ReadBeat, WorkerSilent, Kill)


# Reloading and restarting


def roll(world: World, *, status: int | None = None, rounds: int = 30) -> list[int]:
    """Let a rollout go on, one second at a time; return how many were ready in each."""
    ready = []
    for _ in range(rounds):
        world.obey()
        if status is None:
            world.ready()
        else:
            fresh = [w for w in world.core.workers.values() if w.phase is Phase.STARTING]
            world.tell(*(ev.Exited(w.key, status) for w in fresh))
        world.run(1)
        ready.append(world.running())
    return ready


@shows("reload-own")
def _(world: World) -> None:
    world.up(8, reloads=True)
    effects = world.tell(ev.ReloadRequested())
    assert len(has(effects, Reload)) == 8
    world.tell(*(ev.Reloaded(w.key, 1, None) for w in world.core.workers.values()))
    assert world.when(RolloutFinished)
    assert not world.when(WorkerDied)


@shows("reload")
def _(world: World) -> str:
    world.up(8)
    world.tell(ev.ReloadRequested())
    assert min(roll(world)) == 6
    assert len(world.when(Terminate)) == 8
    assert world.when(RolloutFinished)
    return world.reason()


@shows("reload-stuck")
def _(world: World) -> None:
    world.up(8)
    world.tell(ev.ReloadRequested())
    world.obey()
    world.run(1000)
    assert world.when(RolloutFailed) == [600]
    assert world.running() == 6
    assert len(world.when(Terminate)) == 2


@shows("reload-crash")
def _(world: World) -> str:
    world.up(8)
    world.tell(ev.ReloadRequested())
    assert min(roll(world, status=1, rounds=599)) == 6
    assert not world.when(RolloutFailed)
    world.run(1)
    assert world.when(RolloutFailed) == [600]
    assert world.running() == 6
    return world.reason()


@shows("reload-no-retry")
def _(world: World) -> str:
    world.up(8)
    world.tell(ev.ReloadRequested())
    assert min(roll(world, status=78)) == 6
    assert world.when(RolloutFailed)
    assert not world.when(RolloutFinished)
    return world.reason()


@shows("reload-gave-up")
def _(world: World) -> str:
    world.up(8, Policy(intensity=Intensity(3, 60)))
    world.tell(ev.ReloadRequested())
    assert min(roll(world, status=1)) == 6
    assert world.when(GaveUp) == world.when(RolloutFailed)
    return world.reason()


@shows("reload-surge")
def _(world: World) -> str:
    world.up(4, Policy(rollout=Rollout(0, 1)))
    effects = world.tell(ev.ReloadRequested())
    assert len(has(effects, Spawn)) == 1
    assert not has(effects, Terminate)
    effects = world.ready()
    assert len(has(effects, Terminate)) == 1
    assert min(roll(world)) == 4
    assert world.when(RolloutFinished)
    return world.reason()


@shows("reload-min-ready")
def _(world: World) -> str:
    world.up(2, Policy(rollout=Rollout(1, min_ready=10)))
    world.run(10)
    world.tell(ev.ReloadRequested())
    world.obey()
    world.ready()
    assert len(world.when(Terminate)) == 1
    world.run(10)
    assert world.when(Terminate) == [10, 20]
    world.obey()
    return world.reason()


@shows("hup-starting")
def _(world: World) -> str:
    world.add(4)
    effects = world.tell(ev.ReloadRequested())
    assert len(has(effects, Terminate)) == 4
    assert len(has(world.obey(), Spawn)) == 4
    return world.reason()


@shows("hup-twice")
def _(world: World) -> str:
    world.up(8)
    world.tell(ev.ReloadRequested())
    roll(world, rounds=2)
    world.tell(ev.ReloadRequested())
    assert min(roll(world)) == 6
    assert [e.generation for _, e in world.log if isinstance(e, RolloutFinished)] == [2]
    assert all(w.generation == 2 for w in world.core.workers.values())
    return world.reason()


@shows("hup-waiting")
def _(world: World) -> None:
    world.up()
    for _ in range(2):
        world.exit(world.worker())
    assert not world.alive()
    assert has(world.tell(ev.ReloadRequested()), Spawn)


@shows("restart")
def _(world: World) -> str:
    world.up(8, reloads=True)
    effects = world.tell(ev.RestartRequested(0))
    assert not has(effects, Reload)
    assert min(roll(world)) == 6
    assert len(world.when(Terminate)) == 8
    return world.reason()


@shows("restart-surge")
def _(world: World) -> str:
    world.up(1, Policy(rollout=Rollout(0, 1)))
    world.tell(ev.RestartRequested(0))
    world.ready()
    world.obey()
    return world.reason()


@shows("restart-one")
def _(world: World) -> str:
    world.up(2)
    effects = world.tell(ev.RestartRequested(0, 1))
    assert [e.worker for e in effects if isinstance(e, Terminate)] == [world.worker(0, 1).key]
    assert has(world.obey(), Spawn)
    assert not world.when(RolloutFinished)
    return world.reason()


# Recycling


@shows("recycle-lifetime")
def _(world: World) -> str:
    world.up(1, Policy(recycle=Recycle(lifetime=3600, jitter=0.1), intensity=Intensity(0, 60)))
    world.run(3601)
    assert world.when(Terminate) == [3600]
    effects = world.obey()
    assert has(effects, Spawn)
    assert not has(effects, GaveUp)
    early = World(chance=1.0)
    early.up(1, Policy(recycle=Recycle(lifetime=3600, jitter=0.1)))
    early.run(4000)
    assert early.when(Terminate) == [3240]
    return world.reason()


@shows("recycle-memory")
def _(world: World) -> str:
    world.up(1, Policy(recycle=Recycle(memory="512M")))
    world.run(60)
    (measure,) = [e for _, e in world.log if isinstance(e, MeasureMemory)]
    assert not world.tell(ev.Measured(measure.worker, 512 << 20))
    assert has(world.tell(ev.Measured(measure.worker, (512 << 20) + 1)), Terminate)
    assert has(world.obey(), Spawn)
    return world.reason()


@shows("recycle-young")
def _(world: World) -> None:
    world.up(1, Policy(recycle=Recycle(memory="512M", min_life=60, every=10)))
    world.run(100)
    assert world.when(MeasureMemory) == [60, 70, 80, 90, 100]


@shows("recycle-many")
def _(world: World) -> str:
    world.up(8, Policy(recycle=Recycle(lifetime=100, min_life=0, jitter=0)))
    world.run(100)
    assert len(world.when(Terminate)) == 2
    assert min(roll(world)) == 6
    assert len(world.when(Terminate)) == 8
    return world.reason()


@shows("recycle-no-retry")
def _(world: World) -> str:
    recycle = Recycle(lifetime=100, min_life=0, jitter=0)
    world.up(1, Policy(rollout=Rollout(0, 1), recycle=recycle))
    old = world.worker()
    world.run(100)
    successor = world.core.services[0].slots[0].second
    assert successor is not None
    assert not has(world.exit(successor, 78), Spawn)
    assert not has(world.run(1000), Spawn)
    assert world.worker() is old
    return world.reason()


# Order


@shows("after")
def _(world: World) -> None:
    database = world.add(2)
    web = world.add(1, after=(database,))
    first, second = world.core.workers.values()
    world.tell(ev.Ready(first.key, False, None))
    assert not world.alive(web)
    world.tell(ev.Ready(second.key, False, None))
    assert world.alive(web)


@shows("after-crash")
def _(world: World) -> str:
    world.up()
    world.up(after=(0,))
    world.exit(world.worker(0))
    world.run(1)
    assert world.running(1) == 1
    assert has(world.exit(world.worker(1)), Spawn)
    return world.reason()


@shows("after-done")
def _(world: World) -> str:
    world.add(1, Policy(restart="on-failure"))
    world.add(1, after=(0,))
    assert has(world.exit(world.worker(), 0), Spawn)
    assert world.alive(1)
    return world.reason()


@shows("after-failed")
def _(world: World) -> str:
    world.add(1)
    world.add(1, after=(0,))
    world.exit(world.worker(), 78)
    assert not has(world.run(1000), Spawn)
    world.tell(ev.ReloadRequested())
    world.ready()
    assert world.alive(1)
    return world.reason()


@shows("stop-order")
def _(world: World) -> str:
    world.up(2)
    world.up(2, after=(0,))
    effects = world.tell(ev.StopRequested())
    told = [e.worker for e in effects if isinstance(e, Terminate)]
    assert told == [world.worker(1, 0).key, world.worker(1, 1).key]
    assert len(has(world.obey(), Terminate)) == 2
    assert world.obey()[-1] == Exit(0)
    return world.reason()


@shows("stop-order-late")
def _(world: World) -> str:
    world.up()
    world.up(after=(0,))
    world.tell(ev.StopRequested())
    world.run(61)
    assert world.when(Terminate) == [0, 45]
    assert world.when(Kill) == [60, 60]
    assert world.obey()[-1] == Exit(1)
    return world.reason()


@shows("stop-order-chain")
def _(world: World) -> None:
    world.up(1)
    world.up(1, after=(0,))
    world.up(1, after=(1,))
    world.tell(ev.ScaleRequested(1, 0))
    world.obey()
    effects = world.tell(ev.StopRequested())
    assert [e.worker for e in effects if isinstance(e, Terminate)] == [world.worker(2).key]


# Scaling


@shows("scale-up")
def _(world: World) -> None:
    world.up(1)
    assert len(has(world.tell(ev.ScaleRequested(0, 4)), Spawn)) == 3


@shows("scale-down")
def _(world: World) -> str:
    world.up(4)
    last = world.worker(0, 3)
    effects = world.tell(ev.ScaleRequested(0, 3))
    assert [e.worker for e in effects if isinstance(e, Terminate)] == [last.key]
    assert not has(world.obey(), Spawn)
    return world.reason()


@shows("scale-0")
def _(world: World) -> str:
    world.up(2, Policy(significant=True))
    world.tell(ev.ScaleRequested(0, 0))
    assert not has(world.obey(), Spawn, StopManager)
    assert len(has(world.tell(ev.ScaleRequested(0, 2)), Spawn)) == 2
    return world.reason()


# Stopping


@shows("stop")
def _(world: World) -> str:
    world.up(2)
    assert len(has(world.tell(ev.StopRequested()), Terminate)) == 2
    assert world.obey()[-1] == Exit(0)
    return world.reason()


@shows("stop-own-timeout")
def _(world: World) -> str:
    world.up(1, grace=5)
    world.tell(ev.StopRequested())
    world.run(6)
    assert world.when(Kill) == [5.5]
    assert world.obey()[-1] == Exit(0)
    return world.reason()


@shows("stop-deadline")
def _(world: World) -> str:
    world.up()
    world.tell(ev.StopRequested())
    world.run(60)
    assert world.when(Kill) == [60]
    assert world.obey()[-1] == Exit(1)
    return world.reason()


@shows("term-twice")
def _(world: World) -> str:
    world.up()
    world.tell(ev.StopRequested())
    world.run(10)
    world.tell(ev.HurryRequested())
    world.run(1)
    assert world.when(Kill) == [11]
    assert world.obey()[-1] == Exit(1)
    return world.reason()


@shows("int")
def _(world: World) -> str:
    world.up(2)
    effects = world.tell(ev.AbortRequested())
    assert len(has(effects, Kill)) == 2
    assert not has(effects, Terminate)
    assert world.obey()[-1] == Exit(1)
    return world.reason()


@shows("stop-while-starting")
def _(world: World) -> str:
    world.add(100)
    started = world.alive()
    assert started < 100
    effects = world.tell(ev.StopRequested())
    assert len(has(effects, Terminate)) == started
    assert world.obey()[-1] == Exit(0)
    return world.reason()


@shows("death-in-stop")
def _(world: World) -> str:
    world.up(2, Policy(intensity=Intensity(0, 60)))
    world.tell(ev.StopRequested())
    assert not has(world.exit(world.worker(), -11), Spawn, GaveUp)
    return world.reason()


@shows("hup-in-stop")
def _(world: World) -> None:
    world.up(1, reloads=True)
    world.tell(ev.StopRequested())
    assert not world.tell(ev.ReloadRequested())


@shows("unkillable")
def _(world: World) -> str:
    world.up(1, grace=5)
    worker = world.worker()
    world.tell(ev.RestartRequested(0, 0))
    world.run(60)
    assert world.when(Unkillable) == [8.5]
    assert world.when(Kill) == [5.5, 8.5]
    assert not has(world.run(10), Spawn)
    assert has(world.exit(worker, -9), Spawn)
    return world.reason()


@shows("unkillable-in-stop")
def _(world: World) -> None:
    world.up()
    world.tell(ev.StopRequested())
    world.run(100)
    assert world.when(Unkillable) == [63]
    assert world.log[-1] == (63, Exit(1))


@shows("all-ready")
def _(world: World) -> None:
    world.add(2)
    world.add(1, Policy(restart="on-failure"))
    assert not world.when(AllReady)
    world.exit(world.worker(1), 0)
    world.ready()
    assert world.when(AllReady)
    world.exit(world.worker(0))
    world.ready()
    assert len(world.when(AllReady)) == 1


# The page


def named(row: str) -> list[tuple[str, str]]:
    """Return the tests that a row names."""
    return re.findall(r"`tests/(test_\w+\.py)::(test_\w+)`", ROWS[row][2])


@pytest.mark.sim
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=pytest.mark.xfail(reason=BROKEN[row])) if row in BROKEN else row
        for row in ROWS
        if not named(row)
    ],
)
def test_the_core_does_what_the_row_says(row: str) -> None:
    """What the row says happens, and the worker's death has the reason of its last column."""
    assert CHECKS[row](World()) == (None if ROWS[row][3] == "-" else ROWS[row][3].strip("`"))


def test_each_row_is_checked_once() -> None:
    """Each row has a check here or names tests that exist, and each check has its row."""
    assert len(ROWS) >= 25
    assert {row for row in ROWS if not named(row)} == set(CHECKS)
    missing = [
        f"{file}::{name}"
        for row in ROWS
        for file, name in named(row)
        if name not in find_tests(file)
    ]
    assert not missing
    ids = re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(ids) == len(set(ids)) == len(ROWS)


def test_there_is_one_table() -> None:
    """Every line of the page's one table is a row with an id and five columns."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert len(lines) == len(ROWS) + 2
    assert {line.count("|") for line in lines} == {6}


def test_every_reason_is_one() -> None:
    """The last column has nothing that no death can have, and leaves no reason out."""
    from cotyledon._core.effects import Reason

    starts = {Reason.WANTED, Reason.RESPAWN, Reason.SUCCESSOR}
    known = {reason.value for reason in Reason if reason not in starts}
    assert {row[3].strip("`") for row in ROWS.values()} - {"-"} == known
