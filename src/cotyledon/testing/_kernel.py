"""The kernel of the fake operating system: its clock, its chance, and its processes.

Responsible for what simulated workers do, and for telling of it as a kernel and real workers
would: late, doubled and out of order where that can be. Never knows the core.
"""

import random
from collections.abc import Callable
from heapq import heappush

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.grace import bounded
from cotyledon.policy import Policy
from cotyledon.testing._processes import SECOND, Behaviour, Process

REAPED_AFTER = 200_000
"""Nanoseconds from the end of a process to the event that tells of it, at least."""


class Kernel:
    """Processes in virtual time.

    Args:
        seed: of every chance.
        grace: the manager's graceful timeout in nanoseconds.
    """

    def __init__(self, seed: int, grace: int) -> None:
        self.random = random.Random(seed)
        self.now = SECOND
        self.fork_fails = 0.0  # probability
        self.doubles = 0.0  # probability that a message comes twice
        self.steals = 0.0  # probability that a foreign wait takes an exit status
        self._grace = grace
        self._policies: dict[int, Policy] = {}
        self._behaviours: dict[int, Behaviour] = {}
        self._processes: dict[int, Process] = {}
        self._slots: dict[int, tuple[int, int]] = {}
        self._queue: list[tuple[int, int, object]] = []
        self._count = 0

    # The workers

    def _spawn(self, spawn: fx.Spawn) -> None:
        key = spawn.worker
        if self.random.random() < self.fork_fails:
            self._push(self.now + 1, ev.SpawnFailed(key))
            return
        behaviour = self._behaviours[spawn.service]
        process = self._processes[key] = Process(behaviour, self._policies[spawn.service])
        self._slots[key] = (spawn.service, spawn.worker_id)
        chance = self.random.random()
        process.deaf = self.random.random() < behaviour.deaf
        if chance < behaviour.start_fails:
            status = self.random.choice(behaviour.start_statuses)
            self._later(self._between(behaviour.start), self._fail_to_start, key, status)
        elif chance < behaviour.start_fails + behaviour.start_hangs:
            process.deaf = True
        else:
            self._later(self._between(behaviour.start), self._built, key)
        if behaviour.extends is not None:
            self._later(self.random.random() * behaviour.extends, self._extend, key)

    def _fail_to_start(self, key: int, status: int) -> None:
        # A worker that has been calmed meanwhile does not fail any more.
        if self._processes[key].behaviour.start_fails:
            self._end(key, status)
        else:
            self._built(key)

    def _extend(self, key: int) -> None:
        process = self._processes[key]
        by = process.behaviour.extends
        if process.alive and not process.ready and by is not None:
            self._say(ev.Extended(key, round(by * SECOND)))
            if process.deaf and self.random.random() < 0.2:
                return  # it hangs, and asks for nothing any more
            self._later(by * self.random.uniform(0.3, 1.1), self._extend, key)

    def _built(self, key: int) -> None:
        process = self._processes[key]
        if not process.alive:
            return
        process.ready = True
        process.ready_at = self.now
        behaviour = process.behaviour
        self._beats(key)
        self._say(ev.Ready(key, behaviour.reload is not None, self._own_grace(behaviour)))
        if process.stopping:
            self._begin_stop(key)
        elif process.due:
            self._begin_reload(key)
        if behaviour.life is not None:
            life = self.random.expovariate(1 / behaviour.life)
            self._later(life, self._crash, key)

    def _beats(self, key: int) -> None:
        process = self._processes[key]
        behaviour = process.behaviour
        process.silent_at = None
        process.steady_at = self.now
        if process.alive and behaviour.silent is not None:
            silent = self.random.expovariate(1 / behaviour.silent)
            process.silent_at = self.now + round(silent * SECOND)
            if behaviour.back is not None:
                back = self.random.expovariate(1 / behaviour.back)
                self._later(silent + back, self._beats, key)

    def _crash(self, key: int) -> None:
        # A worker that has been calmed meanwhile does not crash any more.
        behaviour = self._processes[key].behaviour
        if behaviour.life is not None:
            self._end(key, self.random.choice(behaviour.statuses))

    def _tell_stop(self, key: int) -> None:
        process = self._processes[key]
        if process.alive and not process.stopping:
            process.stopping = True
            if process.ready:
                self._begin_stop(key)

    def _begin_stop(self, key: int) -> None:
        process = self._processes[key]
        if process.deaf:
            return
        takes = self._between(process.behaviour.stop)
        grace = bounded(self._own_grace(process.behaviour), self._grace) / SECOND
        if grace and takes > grace:
            self._later(grace, self._end, key, 1)
        else:
            self._later(takes, self._end, key, 0)

    def _tell_reload(self, key: int, generation: int) -> None:
        process = self._processes[key]
        if process.alive and not process.stopping:
            process.due = generation
            if process.ready and not process.reloading:
                self._begin_reload(key)

    def _begin_reload(self, key: int) -> None:
        process = self._processes[key]
        if process.behaviour.reload is None:
            self._tell_stop(key)  # the base class's reload() restarts the worker
            return
        process.reloading, process.due = process.due, 0
        if not process.deaf:
            self._later(self._between(process.behaviour.reload), self._reloaded, key)

    def _reloaded(self, key: int) -> None:
        process = self._processes[key]
        if not process.alive or process.stopping:
            return
        self._say(ev.Reloaded(key, process.reloading, self._own_grace(process.behaviour)))
        process.reloading = 0
        if process.due:
            self._begin_reload(key)

    def _end(self, key: int, status: int) -> None:
        process = self._processes[key]
        if process.alive:
            process.alive = False
            stolen = self.random.random() < self.steals
            self._say(ev.Exited(key, None if stolen else status), REAPED_AFTER)

    # The clockwork

    def _say(self, event: ev.Event, after: int = 0) -> None:
        when = self.now + after + self.random.randrange(100_000)
        self._push(when, event)
        if self.doubles and self.random.random() < self.doubles:
            self._push(when + self.random.randrange(SECOND), event)

    def _later(self, seconds: float, action: Callable[..., None], *args: object) -> None:
        self._push(self.now + round(seconds * SECOND), lambda: action(*args))

    def _push(self, when: int, item: object) -> None:
        self._count += 1
        heappush(self._queue, (when, self._count, item))

    def _between(self, bounds: tuple[float, float]) -> float:
        return self.random.uniform(*bounds)

    @staticmethod
    def _own_grace(behaviour: Behaviour) -> int | None:
        return None if behaviour.grace is None else round(behaviour.grace * SECOND)
