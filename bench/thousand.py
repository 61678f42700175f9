"""A thousand workers of one service on this machine: ``python -m bench.thousand [WORKERS]``.

Responsible for one run of ``bench/programs/thousand.py`` and a table of what it took. It shows
absolute figures of one machine; the comparisons are in ``python -m bench``.
"""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(__file__).parent / "programs" / "thousand.py"
LONGEST = 300.0
"""Seconds that anything may take."""
REST = 10.0
"""Seconds for which the beating workers are watched."""


class Run:
    """The program, and what it has said."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.seen: dict[str, int] = {}
        self.began = time.perf_counter()
        self.popen = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.popen.stdout is not None
        self.out = self.popen.stdout.fileno()

    def wait(self, letter: str, count: int) -> float:
        """Wait until a letter was seen so many times in all; return the seconds since begin."""
        end = time.perf_counter() + LONGEST
        while self.seen.get(letter, 0) < count:
            left = end - time.perf_counter()
            if left <= 0 or not select.select([self.out], [], [], left)[0]:
                raise TimeoutError(f"{letter} was seen {self.seen.get(letter, 0)} times: {count}")
            for one in os.read(self.out, 1 << 16).decode():
                self.seen[one] = self.seen.get(one, 0) + 1
        return time.perf_counter() - self.began

    def again(self) -> None:
        """Let the clock start anew."""
        self.began = time.perf_counter()

    def children(self) -> list[int]:
        task = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def worker_pids(self) -> list[int]:
        """Return the children that lead no session, which the guard does."""
        return [pid for pid in self.children() if os.getsid(pid) != pid]

    def cpu(self) -> float:
        """Return the CPU seconds of the master."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def private(pid: int) -> int:
    """Return the private memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def main() -> None:
    """Measure and print a table."""
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    run = Run(workers)
    rows: list[tuple[str, str]] = []
    try:
        rows.append(("start until all are ready", f"{run.wait('A', 1):.2f} s"))
        before, began = run.cpu(), time.perf_counter()
        time.sleep(REST)
        busy = (run.cpu() - before) / (time.perf_counter() - began)
        rows.append((f"master's CPU while {workers} workers beat once a second", f"{busy:.1%}"))
        memory = [private(pid) for pid in run.worker_pids()[:: max(1, workers // 20)]]
        rows.append(("private memory per worker", f"{sum(memory) / len(memory) / 1e6:.2f} MB"))
        rows.append(("private memory of the master", f"{private(run.popen.pid) / 1e6:.1f} MB"))
        run.again()
        os.kill(run.popen.pid, signal.SIGHUP)
        rows.append(("rolling reload, a quarter at a time", f"{run.wait('F', 1):.2f} s"))
        before, died = run.cpu(), run.seen.get("d", 0)
        ready = run.seen["r"]
        run.again()
        for pid in run.worker_pids():
            os.kill(pid, signal.SIGKILL)
        run.wait("d", died + workers)
        took = run.wait("r", ready + workers)
        rows.append(("KILL of all until all are ready again", f"{took:.2f} s"))
        rows.append(("the same, master's CPU", f"{run.cpu() - before:.2f} s"))
        run.again()
        os.kill(run.popen.pid, signal.SIGTERM)
        run.popen.wait(LONGEST)
        rows.append(("TERM until the end", f"{time.perf_counter() - run.began:.2f} s"))
        rows.append(("exit status", str(run.popen.returncode)))
    finally:
        if run.popen.poll() is None:
            run.popen.kill()
        run.popen.communicate()
    print(f"| {workers:,} workers of one service | |\n|---|---|")
    for what, figure in rows:
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
