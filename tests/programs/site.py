"""A manager with the HTTP endpoint: one function for each program around it."""

import multiprocessing
import os
import sys
import time

import cotyledon
from cotyledon import Start
from cotyledon.contrib.http import HttpService
from tests.http_support import HOSTILE
from tests.programs.support import DIRECTORY, event, gate, hang, main, run

SOCKET = os.path.join(DIRECTORY, "control.sock")


class Web(cotyledon.Service):
    """Waits, and says what it does."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        self.status(f"serves shard {worker_id}", {"pages": 3, "open <1>": 0.5})

    def run(self) -> None:
        event("run", worker=self.worker_id)
        hang()


class Hostile(Web):
    """Is called what nobody should be called."""

    name = HOSTILE

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        self.status(f"<img src=x onerror=alert(2)> {HOSTILE}")


class Late(cotyledon.Service):
    """Is ready when the test allows it."""

    policy = cotyledon.Policy(start=Start(ready="told", timeout=None))

    def run(self) -> None:
        gate("late")
        self.ready()
        hang()


class Watched(Web):
    """Has a heartbeat."""

    name = "Watched"

    policy = cotyledon.Policy(watchdog=30)

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        self.heartbeat()


class Busy(Web):
    """Uses CPU and memory, so that there is something to see."""

    name = "Indexer"

    def run(self) -> None:
        kept: list[bytes] = []
        while True:
            until = time.monotonic() + 0.02 + 0.02 * self.worker_id
            while time.monotonic() < until:
                pass
            if len(kept) < 100:
                kept.append(b"x" * 200_000)
            time.sleep(0.3)


class Flaky(Web):
    """Ends at once, again and again."""

    name = "Importer"

    def run(self) -> None:
        time.sleep(0.2)
        sys.exit(3)


def _manager(**more: object) -> cotyledon.ServiceManager:
    manager = cotyledon.ServiceManager(control=SOCKET)
    manager.add(HttpService, kwargs={"control": SOCKET, "port": 0} | more)
    return manager


def plain(most: str = "64", port: str = "0") -> None:
    """Two services of one name, and one with a hostile one."""
    manager = _manager(max_browsers=int(most), port=int(port))
    manager.add(Web, workers=2)
    manager.add(Web)
    manager.add(Hostile)
    manager.register_hooks(on_reload=lambda: event("modules", names=sorted(sys.modules)))
    run(manager)


def everything() -> None:
    """Whatever there is a metric for."""
    manager = _manager()
    manager.add(Watched, workers=2)
    run(manager)


def method(name: str) -> None:
    """The endpoint with another start method."""
    manager = cotyledon.ServiceManager(
        mp_context=multiprocessing.get_context(name), control=SOCKET
    )
    manager.add(HttpService, kwargs={"control": SOCKET, "port": 0})
    run(manager)


def late() -> None:
    """A service that is not ready yet."""
    manager = _manager()
    manager.add(Late, workers=2)
    run(manager)


def elsewhere(path: str) -> None:
    """The endpoint of a manager that is another program."""
    manager = cotyledon.ServiceManager(control=SOCKET)
    manager.add(HttpService, kwargs={"control": path, "port": 0})
    run(manager)


def wrong(name: str, value: str) -> None:
    """An argument that cannot be."""
    manager = cotyledon.ServiceManager()
    policy = cotyledon.Policy(significant=True)
    given = int(value) if name == "port" else value
    manager.add(HttpService, kwargs={"control": SOCKET, name: given}, policy=policy)
    run(manager)


def show() -> None:
    """What the pictures in the documentation show."""
    manager = cotyledon.ServiceManager(name="shop", control=SOCKET)
    web = manager.add(Web, workers=3)
    manager.add(Busy, workers=4)
    manager.add(Flaky)
    manager.add(HttpService, kwargs={"control": SOCKET, "port": 0}, after=[web])
    run(manager)


if __name__ == "__main__":
    main(globals())
