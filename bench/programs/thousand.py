"""Many workers of one service that beat once a second; tells its standard output what happens."""

import sys
import threading
from typing import Any

import cotyledon
from cotyledon import notices
from cotyledon.types import WorkerId


class Beating(cotyledon.Service):
    """Does nothing but beat."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(WorkerId(worker_id))
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(1):
            self.heartbeat()

    def terminate(self) -> None:
        self.over.set()


def tell(notice: Any) -> None:
    """Print a letter for what the benchmark waits for."""
    letters = {
        notices.WorkerReady: "r",
        notices.WorkerDied: "d",
        notices.AllReady: "A",
        notices.RolloutFinished: "F",
        notices.RolloutFailed: "X",
    }
    letter = letters.get(type(notice))
    if letter:
        sys.stdout.write(letter)
        sys.stdout.flush()


def main() -> None:
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_event=tell)
    backoff = cotyledon.Backoff(initial=0, cap=0)
    policy = cotyledon.Policy(watchdog=10, backoff=backoff)
    manager.add(Beating, workers=int(sys.argv[1]), policy=policy)
    manager.run()


if __name__ == "__main__":
    main()
