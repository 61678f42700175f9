"""What one event costs the core, by the number of workers: ``python -m bench.core``.

Responsible for driving the core alone, without a kernel and without a referee. A cost that does
not grow is one that is O(1); that of a reload is shown per worker.
"""

import time
from collections.abc import Callable, Iterable

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.machine import Core
from cotyledon.policy import Backoff, Policy, Rollout

SECOND = 1_000_000_000
SIZES = (10, 100, 1_000, 10_000)
POLICY = Policy(
    watchdog=30, backoff=Backoff(initial=0, cap=0), rollout=Rollout(max_unavailable="25%")
)


class Fleet:
    """A core with one service whose workers are ready at once and do what they are told."""

    def __init__(self, workers: int) -> None:
        self.now = SECOND
        self.core = Core(grace=60 * SECOND, spawn_interval=0, chance=lambda: 0.5)
        self.steps = 0
        self.turn([ev.ServiceAdded(0, workers, None, False, POLICY)])
        self.settle()

    def turn(self, events: Iterable[ev.Event]) -> list[fx.Effect]:
        """Take one step."""
        self.now += 1_000
        self.steps += 1
        return self.core.step(self.now, events)

    def settle(self, effects: Iterable[fx.Effect] = ()) -> None:
        """Answer effects until nothing follows."""
        answers = self.answer(effects)
        while answers or self.core.startable:
            answers = self.answer(self.turn(answers))

    def answer(self, effects: Iterable[fx.Effect]) -> list[ev.Event]:
        answers: list[ev.Event] = []
        for effect in effects:
            match effect:
                case fx.Spawn(worker):
                    answers.append(ev.Ready(worker, False, None))
                case fx.Terminate(worker):
                    answers.append(ev.Exited(worker, 0))
                case _:
                    pass
        return answers


def microseconds(action: Callable[[], object], times: int) -> float:
    """Return how long one of many calls takes."""
    began = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - began) / times * 1e6


def costs(workers: int) -> dict[str, float]:
    """Return microseconds by kind of event."""
    fleet = Fleet(workers)
    keys = list(fleet.core.workers)
    beats = iter(keys * (2_000 // workers + 2))

    def beat() -> None:
        fleet.turn([ev.Heartbeat(next(beats), fleet.now)])
        fleet.core.next_deadline()

    def death() -> None:
        key = next(iter(fleet.core.workers))
        fleet.settle(fleet.turn([ev.Exited(key, -9)]))
        fleet.core.next_deadline()

    def reload() -> None:
        fleet.settle(fleet.turn([ev.ReloadRequested()]))

    found = {
        "a heartbeat that is looked up": microseconds(beat, 2_000),
        "a death, its successor's start and readiness": microseconds(death, 1_000),
        "an idle step": microseconds(lambda: fleet.turn(()), 2_000),
    }
    found["a whole rolling reload, per worker"] = microseconds(reload, 1) / workers
    return found


def main() -> None:
    """Measure and print a table."""
    table = [costs(workers) for workers in SIZES]
    print("| microseconds per event |", " | ".join(f"{n:,}" for n in SIZES), "|")
    print("|---" * (len(SIZES) + 1) + "|")
    for name in table[0]:
        print(f"| {name} |", " | ".join(f"{column[name]:.1f}" for column in table), "|")


if __name__ == "__main__":
    main()
