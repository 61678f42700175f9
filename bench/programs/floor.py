"""The floor: the least that keeps N processes with a thread alive.

Responsible for doing the work of ``service.py`` in the same way with nothing around it: fork,
one thread that reports and waits, TERM. Never more than that: no back-off, no guard, no log.

    floor.py PIPE WORKERS MEGABYTES COLLECTIONS
"""

import gc
import os
import signal
import struct
import sys
import threading
import time
from typing import NoReturn

PIPE, WORKERS, MEGABYTES, COLLECTIONS = (int(arg) for arg in sys.argv[1:])
RECORD = struct.Struct("<qqq")
SIGNALS = {signal.SIGTERM, signal.SIGCHLD}


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


class Service:
    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.stopped = threading.Event()

    def run(self) -> None:
        for _ in range(COLLECTIONS):
            gc.collect()
        report(self.worker_id)
        self.stopped.wait()


def work(worker_id: int) -> NoReturn:
    service = Service(worker_id)
    thread = threading.Thread(target=service.run)
    thread.start()
    signal.sigwait({signal.SIGTERM})  # blocked since before the fork: it cannot be missed
    service.stopped.set()
    thread.join()
    os._exit(0)


def start(worker_id: int) -> int:
    pid = os.fork()
    if not pid:
        work(worker_id)
    return pid


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    report(-1)
    workers: dict[int, int] = {}
    for worker_id in range(WORKERS):
        if signal.SIGTERM in signal.sigpending():
            break
        workers[start(worker_id)] = worker_id
    while signal.sigwait(SIGNALS) != signal.SIGTERM:
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            worker_id = workers.pop(pid)
            workers[start(worker_id)] = worker_id
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    for pid in workers:
        os.waitpid(pid, 0)


HEAP = build_heap()
main()
