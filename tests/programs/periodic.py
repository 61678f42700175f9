"""Services with periodic tasks: one function for each habit."""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from futurist import periodics

import cotyledon
from cotyledon import notices
from cotyledon.contrib.futurist import PeriodicService, on_one_worker
from tests.programs.support import DIRECTORY, event, gate, hang, hang_in_c, main, run

SOCKET = os.path.join(DIRECTORY, "control.sock")
QUICK = 0.05
"""Seconds of a period that no test waits for."""


def manage(service: type[PeriodicService], *, workers: int = 1, **arguments: Any) -> None:
    """Run a service, and tell how its workers end."""

    def on_event(notice: notices.Notice) -> None:
        if isinstance(notice, notices.WorkerDied):
            death = notice.death
            event("died", worker=notice.worker_id, reason=death.reason, code=death.exit_code)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=10, control=SOCKET)
    manager.add(service, workers, kwargs=arguments)
    manager.register_hooks(on_event=on_event)
    run(manager)


class Talker(PeriodicService):
    """Tells the test that it runs."""

    @periodics.periodic(QUICK)
    def quick(self) -> None:
        event("quick", worker=self.worker_id)


class Slow(Talker):
    """Has one task that takes as long as the test wants."""

    def __init__(self, worker_id: int, **arguments: Any) -> None:
        super().__init__(worker_id, **arguments)
        self.inside = 0
        signal.signal(signal.SIGUSR2, lambda signum, frame: event("inside", now=self.running()))

    @periodics.periodic(QUICK, run_immediately=True)
    def slow(self) -> None:
        self.inside += 1
        self.stopping.wait(3 * QUICK)  # the other one is due meanwhile, and waits for a thread
        event("slow", inside=self.inside, worker=self.worker_id)
        gate("slow")
        self.inside -= 1
        event("slow ended", stopping=self.stopping.is_set())

    def terminate(self) -> None:
        event("terminate")
        super().terminate()
        event("terminated")


class Reloads(Slow):
    """Goes on when it is told to reload."""

    def reload(self) -> None:
        event("reload")


class Failing(PeriodicService):
    """Fails as often as the test wants, in several ways."""

    failing = True

    def __init__(self, worker_id: int, **arguments: Any) -> None:
        super().__init__(worker_id, **arguments)
        self.status("polls the moon", {"craters": 7})
        self.errors = iter(
            (ValueError("no\ncheese"), asyncio.CancelledError(), OSError("no rope"))
        )
        signal.signal(signal.SIGUSR2, lambda signum, frame: setattr(self, "failing", False))

    @periodics.periodic(QUICK)
    def moon(self) -> None:
        event("moon")
        if self.failing:
            raise next(self.errors, KeyError("moon"))

    @periodics.periodic(QUICK)
    def never_again(self) -> None:
        event("never again")
        raise periodics.NeverAgain


class Leaver(Slow):
    """Ends its worker from a task, by itself."""

    @periodics.periodic(QUICK)
    def leave(self) -> None:
        gate("leave")
        event("leaves")
        sys.exit(3)


class Hanging(PeriodicService):
    """Hangs in a task, and whether it beats does not depend on that."""

    policy = cotyledon.Policy(watchdog=1.0)

    @periodics.periodic(0.1)
    def beat(self) -> None:
        if max(self.running().values(), default=0.0) < 0.5:
            self.heartbeat()

    @periodics.periodic(QUICK)
    def hangs(self) -> None:
        event("hangs")
        hang()


class Patient(PeriodicService):
    """Hangs in a task while it is to end."""

    graceful_shutdown_timeout = 0.5

    @periodics.periodic(QUICK)
    def hangs(self) -> None:
        event("hangs")
        {"python": hang, "c": hang_in_c}[sys.argv[2]]()


class Forgetful(PeriodicService):
    """Has forgotten something."""

    def __init__(self, worker_id: int) -> None:
        self.moons = 3

    @periodics.periodic(QUICK)
    def moon(self) -> None:
        event("moon")


class Spread(PeriodicService):
    """Runs once in a second."""

    @periodics.periodic(1)
    def tick(self) -> None:
        event("tick", worker=self.worker_id)


class OneFile:
    """What gives everything to the worker whose number is in a file: a partition for tests."""

    def __init__(self, worker_id: int = -1) -> None:
        self.worker_id = worker_id

    def partition(self, worker_id: int) -> "OneFile":
        return OneFile(worker_id)

    def owns(self, key: str | bytes) -> bool:
        event("asked", key=key, worker=self.worker_id)
        return Path(DIRECTORY, "owner").read_text() == str(self.worker_id)

    def on_change(self, callback: Callable[[], None]) -> None:
        raise AssertionError("nobody needs to be told")


class Shared(PeriodicService):
    """Has a task for one worker."""

    @periodics.periodic(QUICK)
    @on_one_worker
    def sweep(self) -> None:
        event("sweep", worker=self.worker_id)


def shared() -> None:
    """Two workers, and a task that one of them runs."""
    Path(DIRECTORY, "owner").write_text("0")
    manage(Shared, workers=2, share=OneFile())


def cluster(url: str, host: str) -> None:
    """One manager of several that share the task."""
    from cotyledon.contrib import tooz

    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=10)
    group = tooz.Group(manager, url, "sweepers", host=host, membership_timeout=2)
    group.add(Sweeper, workers=2, args=(host,))
    run(manager)


class Sweeper(PeriodicService):
    """Has a task for one worker of the cluster."""

    def __init__(self, worker_id: int, host: str, **arguments: Any) -> None:
        super().__init__(worker_id, **arguments)
        self.host = host

    @on_one_worker
    @periodics.periodic(QUICK)
    def sweep(self) -> None:
        event("sweep", worker=self.worker_id, host=self.host)


@periodics.periodic(QUICK)
def function() -> None:
    """A task that is no method."""
    event("function", thread=threading.current_thread().name)


def spawned() -> None:
    """A service without a subclass, in workers that are not forked."""
    manager = cotyledon.ServiceManager()
    manager.mp_context = multiprocessing.get_context("spawn")
    manager.add(PeriodicService, kwargs={"tasks": [function]})
    run(manager)


if __name__ == "__main__":
    main(
        {
            "slow": lambda: manage(Slow),
            "one-thread": lambda: manage(Slow, threads=1),
            "reloads": lambda: manage(Reloads),
            "failing": lambda: manage(Failing),
            "fail-after": lambda: manage(Failing, fail_after=3),
            "leaver": lambda: manage(Leaver),
            "hanging": lambda: manage(Hanging),
            "patient": lambda how: manage(Patient),
            "forgetful": lambda: manage(Forgetful),
            "spread": lambda: manage(Spread, workers=4),
            "shared": shared,
            "cluster": cluster,
            "spawned": spawned,
        }
    )
