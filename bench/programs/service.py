"""The subject: a service of cotyledon, of whichever version the interpreter has.

Responsible for reporting that a worker runs, and for nothing else. Never uses what only one of
the versions has, and changes no default.

    service.py PIPE WORKERS MEGABYTES COLLECTIONS
"""

import gc
import os
import struct
import sys
import threading
import time

import cotyledon
from cotyledon.types import WorkerId

PIPE, WORKERS, MEGABYTES, COLLECTIONS = (int(arg) for arg in sys.argv[1:])
RECORD = struct.Struct("<qqq")


def report(worker_id: int) -> None:
    os.write(PIPE, RECORD.pack(worker_id, os.getpid(), time.monotonic_ns()))


def _anonymous(statm: str) -> int:
    resident, shared = (int(field) for field in statm.split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def build_heap() -> list[dict[str, object]]:
    heap: list[dict[str, object]] = []
    with open("/proc/self/statm") as statm:
        while True:
            statm.seek(0)
            if _anonymous(statm.read()) >= MEGABYTES << 20:
                return heap
            heap.extend({"name": f"object {i}", "values": [str(i)] * 8} for i in range(1000))


class Service(cotyledon.Service):
    def __init__(self, worker_id: WorkerId) -> None:
        super().__init__(worker_id)
        self.stopped = threading.Event()

    def run(self) -> None:
        for _ in range(COLLECTIONS):
            gc.collect()
        report(self.worker_id)
        self.stopped.wait()

    def terminate(self) -> None:
        self.stopped.set()


HEAP = build_heap()
manager = cotyledon.ServiceManager()
manager.add(Service, workers=WORKERS)
report(-1)
manager.run()
