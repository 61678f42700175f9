"""A manager with a control socket, for the screen that shows it."""

import os
import threading

import cotyledon
from tests.programs.support import event, main, run


class Web(cotyledon.Service):
    """Works until it is told to end."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        self.end = threading.Event()

    def run(self) -> None:
        self.status(f"at work [b]{self.worker_id}")
        event("run", worker=self.worker_id)
        self.wait_in_here()

    def wait_in_here(self) -> None:
        self.end.wait()

    def terminate(self) -> None:
        self.end.set()


def shop(path: str, workers: str) -> None:
    manager = cotyledon.ServiceManager(name=f"shop-{os.getpid()}", control=path)
    manager.add(Web, workers=int(workers))
    run(manager)


if __name__ == "__main__":
    main(globals())
