"""The workers of the fake operating system: how they behave, and what a process remembers.

Responsible for what can be chosen about them. Never makes anything happen: the simulation does.
"""

from typing import NamedTuple

from cotyledon.policy import Policy

SECOND = 1_000_000_000


class Behaviour(NamedTuple):
    """How the workers of a simulated service behave. Durations are seconds, as (least, most).

    A *deaf* worker does nothing when it is told to stop, as one that is stopped or stuck in C
    code; only SIGKILL ends it. A *silent* one has stopped beating, and does all the rest.
    """

    start: tuple[float, float] = (0.001, 0.05)
    stop: tuple[float, float] = (0.001, 0.05)
    reload: tuple[float, float] | None = None  # None: it has no reload() of its own
    life: float | None = None  # mean seconds from ready to a crash
    start_fails: float = 0.0  # probability that it ends before it is ready
    start_hangs: float = 0.0  # probability that it is never ready, and deaf
    deaf: float = 0.0  # probability
    grace: float | None = None  # the service's own graceful timeout
    unkillable: tuple[float, float] | None = None  # how long SIGKILL takes
    known: bool = True  # the manager knows the class, not only a factory
    statuses: tuple[int, ...] = (-11, -9, 0, 1, 2)  # one of them is that of a crash,
    start_statuses: tuple[int, ...] = (1,)  # one of these that of an end before it is ready
    extends: float | None = None  # while it starts it asks for so many more seconds, repeatedly
    beat: float | None = None  # seconds between two heartbeats of a ready worker
    silent: float | None = None  # mean seconds until it stops beating,
    back: float | None = None  # and from then until it beats again
    memory: int = 10_000_000  # private bytes when it is ready,
    grows: int = 0  # and how many more in each second


HEALTHY = Behaviour()


class Process:
    """A process of a simulated worker."""

    __slots__ = (
        "alive",
        "behaviour",
        "deaf",
        "due",
        "policy",
        "ready",
        "ready_at",
        "reloading",
        "silent_at",
        "steady_at",
        "stopping",
    )

    def __init__(self, behaviour: Behaviour, policy: Policy) -> None:
        self.behaviour = behaviour
        self.policy = policy  # of its service when it was started
        self.alive = True
        self.ready = False
        self.ready_at = 0
        self.silent_at: int | None = None  # when it stops beating
        self.steady_at = 0  # since when it has been beating
        self.deaf = False
        self.stopping = False
        self.reloading = 0  # the generation of the reload that is going on
        self.due = 0  # the generation that came meanwhile

    def last_beat(self, now: int) -> int:
        """When it has beaten last; 0: never."""
        if not self.ready or self.behaviour.beat is None:
            return 0
        if self.silent_at is not None:
            now = max(self.ready_at, min(now, self.silent_at))
        beat = round(self.behaviour.beat * SECOND)
        return self.ready_at + (now - self.ready_at) // beat * beat

    def is_silent(self, now: int, watchdog: float | None) -> bool:
        """Whether it has been silent for half of what the watchdog allows."""
        if watchdog is None or not self.ready:
            return False
        return self.last_beat(now) < now - watchdog * SECOND / 2

    def memory(self, now: int) -> int:
        """How many private bytes it has."""
        return self.behaviour.memory + (now - self.ready_at) * self.behaviour.grows // SECOND


def calmed(behaviour: Behaviour, policy: Policy) -> Behaviour:
    """Return a behaviour without its faults."""
    behaviour = behaviour._replace(
        life=None, start_fails=0.0, start_hangs=0.0, deaf=0.0, unkillable=None, silent=None
    )
    if policy.watchdog is not None:
        beat = policy.watchdog / 4
        behaviour = behaviour._replace(beat=min(behaviour.beat or beat, beat))
    impatient = policy.start.timeout is not None or policy.rollout.progress_deadline < 60
    if impatient or policy.recycle is not None:
        # Too slow for its policy is a fault as well.
        behaviour = behaviour._replace(
            reload=None if behaviour.reload is None else (0.0, 0.05),
            start=(0.001, min(0.05, behaviour.start[1])),
            stop=(0.0, min(0.05, behaviour.stop[1])),
            memory=0,
            grows=0,
        )
    return behaviour
