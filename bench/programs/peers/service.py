"""The job as a service of this package: ``service.py WORKERS``."""

import sys
import threading

import cotyledon
from bench.programs.peers.job import report


class Job(cotyledon.Service):
    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        self.stopped = threading.Event()

    def run(self) -> None:
        report()
        self.stopped.wait()

    def terminate(self) -> None:
        self.stopped.set()


manager = cotyledon.ServiceManager()
manager.add(Job, workers=int(sys.argv[1]))
manager.run()
