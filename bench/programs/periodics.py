"""Ten tasks with a period of 0.1 s beside one of 5 s: under futurist alone, and in a service.

Responsible for one run: ``periodics.py SUBJECT LOAD SECONDS``, and for one line of JSON with how
long after a period's end each run of the ten began. Never judges.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any

import futurist
from futurist import periodics

import cotyledon
from cotyledon.contrib.futurist import PeriodicService

PERIOD = 0.1
LONG = 5.0
TASKS = 10


class Book:
    """What is measured."""

    def __init__(self) -> None:
        self.late: list[float] = []

    def quick(self) -> Callable[[], None]:
        """Return one of the tasks that are looked at."""
        last = time.monotonic()

        @periodics.periodic(PERIOD)
        def task() -> None:
            nonlocal last
            now = time.monotonic()
            self.late.append(max(0.0, now - last - PERIOD))
            last = now

        return task

    def tasks(self, load: str) -> list[Callable[[], None]]:
        """Return all tasks."""

        @periodics.periodic(2 * LONG, run_immediately=True)
        def slow() -> None:
            if load == "sleeps":
                time.sleep(LONG)
            end = time.monotonic() + (LONG if load == "computes" else 0)
            while time.monotonic() < end:
                sum(range(1000))

        return [*([slow] if load != "nothing" else []), *(self.quick() for _ in range(TASKS))]

    def tell(self) -> None:
        """Print what was measured."""
        print(json.dumps(self.late), flush=True)


def alone(load: str, seconds: float, executor: Callable[[], Executor] | None = None) -> None:
    """Run futurist's worker in a thread of this process."""
    book = Book()
    worker = periodics.PeriodicWorker(
        [(task, None, None) for task in book.tasks(load)], executor_factory=executor
    )
    threading.Thread(target=worker.start, daemon=True).start()
    time.sleep(seconds)
    book.tell()


class Measured(PeriodicService):
    """The same tasks, in a worker."""

    def __init__(self, worker_id: int, load: str) -> None:
        self.book = Book()
        super().__init__(worker_id, tasks=self.book.tasks(load))


def service(load: str, seconds: float) -> None:
    """Run a manager with one worker."""

    class Ending(Measured):
        def run(self) -> None:
            threading.Thread(target=self.end, daemon=True).start()
            super().run()

        def end(self) -> None:
            time.sleep(seconds)
            self.book.tell()

    manager = cotyledon.ServiceManager()
    manager.add(Ending, args=(load,))
    manager.run()


SUBJECTS: dict[str, Callable[[str, float], Any]] = {
    "futurist": alone,
    "futurist, its pool": lambda load, seconds: alone(load, seconds, futurist.ThreadPoolExecutor),
    "PeriodicService": service,
}


def main(arguments: Iterable[str]) -> None:
    subject, load, seconds = arguments
    SUBJECTS[subject](load, float(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
