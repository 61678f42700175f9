"""What the control socket costs, and what clients can do to it: ``python -m bench.control``.

Responsible for a manager with real workers and real clients on this machine. Prints figures; the
bounds that they are held to are next to them.
"""

import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import proc
from cotyledon.control import Client, ControlError

PROGRAM = Path(__file__).parent / "programs" / "control.py"
FLOODERS = """
import select, socket, sys
line = b'{"do": "status"}\\n' * 500
ends = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]))]
for end in ends:
    end.connect(sys.argv[1])
    end.setblocking(False)
while True:
    readable, writable, _ = select.select(ends, ends if sys.argv[3] == "full" else [], [], 0.01)
    for end in readable:
        end.recv(1 << 20)
    for end in writable if sys.argv[3] == "full" else ends:
        try:
            end.send(line)
        except BlockingIOError:
            pass
"""


class Manager:
    """A running ``bench/programs/control.py``."""

    def __init__(self, path: str, workers: int) -> None:
        self.path = path
        self.popen = subprocess.Popen(
            [sys.executable, str(PROGRAM), path, str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self.popen.pid
        assert self.popen.stdout is not None
        self._out = self.popen.stdout

    def born(self) -> tuple[int, int]:
        """Return the instant and the pid of the next worker 0."""
        instant, pid = self._out.readline().split()
        return int(instant), int(pid)

    def ready(self, workers: int) -> Client:
        """Return a client, when all workers are ready."""
        while True:
            try:
                client = Client(self.path, timeout=60)
                break
            except ControlError:
                select.select([], [], [], 0.05)
        client.scale(client.status()["services"][0]["id"], workers, wait=120)
        return client


@contextmanager
def managed(workers: int, *, control: bool = True) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as folder:
        manager = Manager(f"{folder}/control" if control else "-", workers)
        try:
            yield manager
        finally:
            manager.popen.send_signal(signal.SIGINT)
            manager.popen.wait()


def milliseconds(action: Callable[[], object], times: int, pause: float) -> list[float]:
    took = []
    for _ in range(times):
        select.select([], [], [], pause)  # longer than the answer is kept
        began = time.perf_counter_ns()
        action()
        took.append((time.perf_counter_ns() - began) / 1e6)
    return took


def show(what: str, found: list[float], unit: str, bound: str = "") -> None:
    middle, late = statistics.median(found), sorted(found)[int(len(found) * 0.95)]
    print(f"{what:58} median {middle:8.2f}  p95 {late:8.2f} {unit}  {bound}", flush=True)


def status_latency(workers: int, bound: str) -> None:
    with managed(workers) as manager, manager.ready(workers) as client:
        size = len(json.dumps(client.status()))
        spent = proc.cpu(manager.pid)
        found = milliseconds(client.status, 40, 0.12)
        spent = proc.cpu(manager.pid) - spent
        show(f"status of {workers} workers ({size // 1000} kB)", found, "ms", bound)
        print(f"{'  of the master for each':58} {spent / 40e6:15.2f} ms CPU")


def respawns(manager: Manager, pid: int, times: int) -> tuple[list[float], int]:
    """Kill worker 0 again and again; return how long each birth took in ms, and the last pid."""
    found = []
    for _ in range(times):
        select.select([], [], [], 0.02)
        began = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        born, pid = manager.born()
        found.append((born - began) / 1e6)
    return found, pid


def respawn_latency(workers: int) -> None:
    with managed(workers) as manager:
        _, pid = manager.born()
        manager.ready(workers).close()
        found, pid = respawns(manager, pid, 100)
        show(f"respawn among {workers} workers, no client", found, "ms")
        for count, kind in ((1, "full"), (10, "paced"), (30, "full")):
            flood = subprocess.Popen(
                ["nice", sys.executable, "-c", FLOODERS, manager.path, str(count), kind]
            )
            select.select([], [], [], 0.5)
            cpu, began = proc.cpu(manager.pid), time.monotonic_ns()
            found, pid = respawns(manager, pid, 100)
            share = 100 * (proc.cpu(manager.pid) - cpu) / (time.monotonic_ns() - began)
            flood.kill()
            flood.wait()
            what = f"  {count} clients flood it ({kind}; {share:.0f} % of a core)"
            show(what, found, "ms", "at most twice that")
            select.select([], [], [], 0.3)


def watchers(workers: int, clients: int, seconds: float) -> None:
    with managed(workers) as manager:
        manager.ready(workers).close()
        over = threading.Event()

        def watch() -> None:
            with Client(manager.path) as client:
                events = client.events()
                while not over.wait(1):
                    client.status()
                del events

        threads = [threading.Thread(target=watch) for _ in range(clients)]
        for thread in threads:
            thread.start()
            select.select([], [], [], 0.09)
        before, began = proc.cpu(manager.pid), time.monotonic_ns()
        select.select([], [], [], seconds)
        share = 100 * (proc.cpu(manager.pid) - before) / (time.monotonic_ns() - began)
        over.set()
        for thread in threads:
            thread.join()
        print(
            f"{clients} clients follow {workers} workers, and ask for the status each second:"
            f" {share:.2f} % of a core (at most 2)"
        )


def idle(workers: int, seconds: float) -> None:
    for control in (False, True):
        with managed(workers, control=control) as manager:
            manager.born()
            select.select([], [], [], 1)
            before = proc.cpu(manager.pid), proc.switches(manager.pid)
            select.select([], [], [], seconds)
            used = proc.cpu(manager.pid) - before[0], proc.switches(manager.pid) - before[1]
            sizes = {}
            for line in Path(f"/proc/{manager.pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, _, size = line.partition(":")
                sizes[name] = int(size.split()[0])
            print(
                f"idle, control {'on' if control else 'off'}: {used[0] / 1e6:.2f} ms CPU and "
                f"{used[1]} wakeups in {seconds:g} s; RSS {sizes['Rss']} kB, PSS {sizes['Pss']} kB"
            )


def main() -> None:
    assert hasattr(socket, "AF_UNIX")
    idle(4, 5)
    status_latency(100, "below 5 ms")
    status_latency(1000, "")
    respawn_latency(100)
    watchers(50, 10, 10)


if __name__ == "__main__":
    main()
