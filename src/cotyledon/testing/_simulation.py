"""A core against the fake operating system, watched by a referee.

Responsible for the steps, for answering the core's effects with events, and for what a program or
an operator does. Never forks, never waits: a minute of supervision takes milliseconds.
"""

from collections.abc import Callable, Iterable
from heapq import heappop

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Reason
from cotyledon._core.machine import Core
from cotyledon.policy import Policy
from cotyledon.testing._books import Violation
from cotyledon.testing._kernel import Kernel
from cotyledon.testing._processes import HEALTHY, SECOND, Behaviour, Process, calmed
from cotyledon.testing._referee import Referee


class Simulation(Kernel):
    """A core, a fake operating system, and a referee that checks every step.

    Args:
        seed: of every chance in it; the same seed gives the same run.
        grace: the manager's graceful timeout in seconds (0: none).
        spawn_interval: seconds between two spawns (0: none).
        core: makes the core (tests plant bugs here).
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        grace: float = 60.0,
        spawn_interval: float = 0.0,
        core: Callable[..., Core] = Core,
    ) -> None:
        super().__init__(seed, round(grace * SECOND))
        self.events = 0
        self.lateness = 0.0  # seconds, at most, that the loop is late
        self.answer_takes = 0.0  # seconds, at most, until an answer to a look comes
        self.answers_lost = 0.0  # probability that it does not
        self.stop_takes = (0.0, 0.0)  # seconds from StopManager until the stop begins
        self.effects: list[tuple[int, fx.Effect]] = []
        self.exit_status: int | None = None
        interval = round(spawn_interval * SECOND)
        self.core = core(grace=self._grace, spawn_interval=interval, chance=self.random.random)
        self.referee = Referee(grace=self._grace, spawn_interval=interval, punctual=SECOND // 2)
        self._after: dict[int, tuple[int, ...]] = {}  # of the services that are not removed

    # What a program or an operator does

    def add(
        self,
        workers: int = 1,
        behaviour: Behaviour = HEALTHY,
        policy: Policy | None = None,
        after: tuple[int, ...] = (),
    ) -> int:
        """Add a service, which comes after others, and return its number."""
        number = len(self._behaviours)
        self._behaviours[number] = behaviour
        self._policies[number] = policy or Policy()
        self._after[number] = after
        known = self._known(behaviour)
        self.send(ev.ServiceAdded(number, workers, *known, self._policies[number], after))
        return number

    def change(self, service: int, behaviour: Behaviour, policy: Policy) -> None:
        """Let a service be another one from now on, with another policy."""
        if service in self._after:
            self._behaviours[service] = behaviour
            self._policies[service] = policy
        self.send(ev.ServiceChanged(service, *self._known(behaviour), policy))

    def remove(self, service: int) -> None:
        """Remove a service, unless it is gone already or another one comes after it."""
        if service in self._after and not any(service in after for after in self._after.values()):
            del self._after[service]
            self.send(ev.ServiceRemoved(service))

    @property
    def kept(self) -> list[int]:
        """The services that have not been removed."""
        return list(self._after)

    def _known(self, behaviour: Behaviour) -> tuple[int | None, bool | None]:
        if not behaviour.known:
            return None, None
        return self._own_grace(behaviour), behaviour.reload is not None

    def send(self, event: ev.Event, after: float = 0.0) -> None:
        """Give the core an event, in ``after`` seconds."""
        self._push(self.now + round(after * SECOND), event)

    def scale(self, service: int, workers: int) -> None:
        """Change how many workers a service has."""
        self.send(ev.ScaleRequested(service, workers))

    def reload(self, service: int | None = None) -> None:
        """Send SIGHUP, or reload one service."""
        self.send(ev.ReloadRequested(service))

    def restart(self, service: int, worker_id: int | None = None) -> None:
        """Replace the workers of a service, or one of them."""
        self.send(ev.RestartRequested(service, worker_id))

    def stop(self) -> None:
        """Send SIGTERM."""
        self.send(ev.StopRequested())

    def kill(self, service: int, worker_id: int, signum: int = 9) -> None:
        """End the worker in a slot by a signal, if there is one; both, if there are two."""
        for key in self._alive(service, worker_id):
            self._end(key, -signum)

    def end(self, service: int, worker_id: int, status: int = 0) -> None:
        """Let the worker in a slot end by itself, if there is one; the younger of two."""
        for key in self._alive(service, worker_id)[-1:]:
            self._end(key, status)

    def _alive(self, service: int, worker_id: int) -> list[int]:
        place = service, worker_id
        return [k for k, slot in self._slots.items() if slot == place and self._processes[k].alive]

    def behave(self, service: int, behaviour: Behaviour) -> None:
        """Let the workers that are started from now on behave differently."""
        self._behaviours[service] = behaviour

    def calm(self) -> None:
        """End every fault: from now on workers, forks and messages behave well."""
        self.fork_fails = self.doubles = self.steals = self.answers_lost = 0.0
        for number, behaviour in self._behaviours.items():
            self._behaviours[number] = calmed(behaviour, self._policies[number])
        for key, process in list(self._processes.items()):
            watchdog = process.policy.watchdog
            if process.alive and (process.deaf or process.is_silent(self.now, watchdog)):
                self._end(key, -9)
            process.behaviour = calmed(process.behaviour, process.policy)
            process.silent_at = None
            process.steady_at = self.now

    # Running

    def run(self, seconds: float) -> None:
        """Let virtual time pass; stops early when the manager has ended.

        Raises:
            Violation: the core broke a promise; the message says which.
        """
        until = self.now + round(seconds * SECOND)
        if not self.events:
            self._step()  # the first turn, which happens whether there is anything to do or not
        while self.exit_status is None:
            due = self._queue[0][0] if self._queue else None
            deadline = self.core.next_deadline()
            if deadline is not None and (due is None or deadline < due):
                due = deadline
            if due is None or due > until:
                break
            late = round(self.random.random() * self.lateness * SECOND) if self.lateness else 0
            self.now = max(self.now + 1, due) + late  # a clock never stands still
            self._step()
        self.now = max(self.now, until)

    @property
    def services(self) -> int:
        """How many services were added."""
        return len(self._behaviours)

    @property
    def alive(self) -> int:
        """How many processes there are."""
        return sum(process.alive for process in self._processes.values())

    def _step(self) -> None:
        now = self.now
        batch: list[ev.Event] = []
        while self._queue and self._queue[0][0] <= now:
            item = heappop(self._queue)[2]
            if isinstance(item, tuple):
                batch.append(item)  # type: ignore[arg-type]
            else:
                item()  # type: ignore[operator]
        self.events += len(batch) or 1
        effects = self.core.step(now, batch)
        self.referee.observe(now, batch, effects)
        if self.core.step(now):
            raise Violation("a second step at the same instant had effects")
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= now:
            raise Violation(f"the next deadline, {deadline}, is not later than {now}")
        for effect in effects:
            self.effects.append((now, effect))
            self._perform(effect)

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Spawn():
                self._spawn(effect)
            case fx.Exit(status):
                self.exit_status = status
            case fx.StopManager():
                self.send(ev.StopRequested(), self._between(self.stop_takes))
            case fx.Terminate(key) | fx.Reload(key) | fx.Kill(key) if key not in self._processes:
                pass  # its fork has failed, which the core is about to be told
            case fx.ReadBeat(key):
                self._answer(key, lambda process: ev.Heartbeat(key, process.last_beat(self.now)))
            case fx.MeasureMemory(key):
                self._answer(key, lambda process: ev.Measured(key, process.memory(self.now)))
            case fx.WorkerSilent(key, reason=Reason.WATCHDOG):
                self._check_silence(key)
            case fx.Terminate(key):
                self._tell_stop(key)
            case fx.Reload(key, generation):
                self._tell_reload(key, generation)
            case fx.Kill(key):
                process = self._processes[key]
                if process.alive:
                    slow = process.behaviour.unkillable
                    self._later(self._between(slow) if slow else 0.0001, self._end, key, -9)

    def _answer(self, key: int, look: Callable[[Process], ev.Event]) -> None:
        process = self._processes[key]
        if process.alive and not (self.answers_lost and self.random.random() < self.answers_lost):
            when = self.now + round(self.random.random() * self.answer_takes * SECOND)
            event = look(process)
            self._push(when, event)
            if self.doubles and self.random.random() < self.doubles:
                self._push(when + self.random.randrange(SECOND // 10), event)

    def _check_silence(self, key: int) -> None:
        """Judge what the referee cannot: whether a worker that was called silent really is."""
        process = self._processes[key]
        watchdog = process.policy.watchdog
        assert watchdog is not None
        since = self.now - round(watchdog * SECOND)
        late = round((self.answer_takes + 2 * self.lateness + 0.1) * SECOND)
        if process.steady_at < since - late and process.last_beat(self.now) > since + late:
            raise Violation(f"worker {key} was called silent, and beats")

    def notices(self, *kinds: type) -> Iterable[tuple[float, fx.Effect]]:
        """Return what the core has said so far, of the given kinds, with the second it was."""
        return [(now / SECOND, e) for now, e in self.effects if isinstance(e, kinds)]
