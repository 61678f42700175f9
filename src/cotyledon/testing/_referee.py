"""The invariants, checked from the outside on every step.

Responsible for showing the judges what happens, in its order. The referee sees only the instants,
the events and the effects, so it judges a simulated run and a recorded real one alike.
Never looks into the core.
"""

from collections.abc import Callable, Sequence
from types import MethodType

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Reason
from cotyledon.testing._books import SECOND, Books, ServiceBook, Violation
from cotyledon.testing._judges import Judge
from cotyledon.testing._judges.endings import Endings
from cotyledon.testing._judges.health import Health
from cotyledon.testing._judges.lives import Lives
from cotyledon.testing._judges.rollouts import Rollouts
from cotyledon.testing._judges.stops import Stops

LOOK = SECOND // 10
"""How often the judges look for what is overdue."""
TELLS_OF_SILENCE = (fx.DumpStacks, fx.WorkerSilent, fx.WorkerRecovered, fx.Kill)


class Referee:
    """Watches a run of the core and raises :class:`Violation` when a promise is broken.

    Args:
        grace: the manager's graceful timeout in nanoseconds.
        spawn_interval: the pause between two spawns in nanoseconds.
        punctual: how late the caller may call the core after a deadline, in nanoseconds.
    """

    def __init__(self, *, grace: int, spawn_interval: int, punctual: int) -> None:
        self.books = Books(grace=grace, spawn_interval=spawn_interval, punctual=punctual)
        self._lives = Lives(self.books)
        self._endings = Endings(self.books)
        self._rollouts = Rollouts(self.books)
        health, stops = Health(self.books), Stops(self.books)
        # Who judges an order to stop sees the worker before Lives notes that it has it.
        self._judges: tuple[Judge, ...] = (
            stops,
            self._rollouts,
            self._endings,
            health,
            self._lives,
        )
        self._told = self._table((self._lives, stops, self._rollouts, self._endings, health))
        self._answers = self._table(self._judges, effects=True)
        self._effects: Sequence[fx.Effect] = ()
        self._next = 0
        self._look_at = 0

    @staticmethod
    def _table(
        judges: Sequence[Judge], *, effects: bool = False
    ) -> dict[type, list[Callable[[int, object], None]]]:
        table: dict[type, list[Callable[[int, object], None]]] = {}
        for judge in judges:
            for kind, handler in (judge.EFFECTS if effects else judge.EVENTS).items():
                table.setdefault(kind, []).append(MethodType(handler, judge))
        return table

    @property
    def services(self) -> dict[int, ServiceBook]:
        """What is known of each service."""
        return self.books.services

    @property
    def exit(self) -> int | None:
        """The status with which the manager has ended."""
        return self.books.exit

    def observe(self, now: int, events: Sequence[ev.Event], effects: Sequence[fx.Effect]) -> None:
        """Judge one step of the core."""
        books = self.books
        if books.exit is not None:
            if effects:
                raise Violation(f"effects after the exit: {effects}")
            return
        books.now = now
        if now >= self._look_at:
            self._look_at = now + LOOK
            for judge in self._judges:
                judge.inspect(now)
        self._effects, self._next = effects, 0
        for event in events:
            for told in self._told.get(type(event), ()):
                told(now, event)
            self._follow(now, event)
        for judge in self._judges:
            judge.decided(now)
        while self._next < len(effects):
            self._judge(now)
        for judge in self._judges:
            judge.after(now, events)

    def _judge(self, now: int) -> fx.Effect:
        """Judge the next effect."""
        if self._next >= len(self._effects):
            raise Violation("something that happened was not told")
        effect = self._effects[self._next]
        self._next += 1
        if self.books.exit is not None:
            raise Violation("Exit is not the last effect")
        for judge in self._answers.get(type(effect), ()):
            judge(now, effect)
        return effect

    def _follow(self, now: int, event: ev.Event) -> None:
        """Judge what follows from an event by itself, before the next one is known."""
        match event:
            case ev.Exited() | ev.SpawnFailed():
                while self._endings.verdict is not None:
                    self._judge(now)
            case ev.Ready(key):
                while key in self._lives.just_ready:
                    self._judge(now)
                self._promoted(now, key)
            case ev.Heartbeat(key) | ev.Extended(key):
                effects = self._effects
                while self._next < len(effects):
                    effect = effects[self._next]
                    if not isinstance(effect, TELLS_OF_SILENCE) or effect.worker != key:
                        break
                    if isinstance(effect, fx.Kill) and effect.reason is not Reason.WATCHDOG:
                        break
                    self._judge(now)
            case ev.RestartRequested():
                while self._rollouts.restarting:
                    self._judge(now)

    def _promoted(self, now: int, key: int) -> None:
        """Where a successor counts as soon as it is ready, its predecessor is told at once."""
        worker = self.books.workers.get(key)
        if worker is None or worker.ready_at != now or worker.min_ready:
            return
        first = worker.service.slots[worker.slot][0]
        if first is not worker and not worker.ending and not first.ending:
            effect = self._judge(now)
            if not isinstance(effect, fx.Terminate) or effect.worker != first.key:
                raise Violation("a predecessor was not told to go")
        self._lives.mature(now, key)

    @property
    def settled(self) -> bool:
        """Whether everything wanted is there and current."""
        try:
            self.check_settled()
        except Violation:
            return False
        return True

    def check_settled(self, *, forgiven: bool = True) -> None:
        """After faults have ended and time has passed: everything wanted is there and current.

        Args:
            forgiven: somebody has asked for it since; else what was given up may still be.

        Raises:
            Violation: a wanted slot has no ready worker, or one of an old generation.
        """
        services = self.books.services.values()
        blocked = False
        for service in services:
            given_up = service.gave_up or not all(service.ended.values())
            closed = not service.opened
            if (given_up or closed) and (forgiven or given_up or blocked):
                if forgiven:
                    raise Violation(f"service {service.key} is not running")
                blocked = True
                if any(worker.ending for workers in service.slots.values() for worker in workers):
                    raise Violation(f"service {service.key} is not at rest")
                continue
            self._check_service(service, forgiven=forgiven)
        if not self.books.announced and not blocked:
            raise Violation("AllReady was never said")

    def _check_service(self, service: ServiceBook, *, forgiven: bool) -> None:
        name = f"service {service.key}"
        if service.failed and forgiven:
            raise Violation(f"the rollout of {name} has failed")
        for slot in range(service.wanted):
            if slot in service.ended:
                continue
            worker = service.first(slot)
            if worker is None or worker.ready_at is None or len(service.slots[slot]) > 1:
                raise Violation(f"slot {slot} of {name} is not ready")
            if worker.generation < service.generation and not service.failed:
                raise Violation(f"slot {slot} of {name} is behind")
            if worker.grown_at is not None and slot not in service.barren:
                raise Violation(f"the worker in slot {slot} of {name} has grown, and lives on")
        if service.rolling:
            raise Violation(f"the rollout of {name} was not called finished")
        if len(service.slots) != service.wanted - len(service.ended):
            raise Violation(f"{name} has more workers than wanted")
