"""This package beside other supervisors: ``python -m bench.peers --peers PYTHON``.

Responsible for giving circus, gunicorn, supervisor and this package the same job, ten workers that
report and wait, for doing the same to each, in turns, and for a table of what was seen. Their
settings are their defaults, except for what makes them run beside each other in a directory of
their own. ``PYTHON`` is the interpreter of an environment that has the three others.
"""

import argparse
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cotyledon
from bench import proc
from bench.run import clear_away, prepare, reap

WORKERS = 10
REST = 2.0
"""Seconds until a worker counts as started for everybody: supervisor wants one."""
IDLE = 5.0
"""Seconds for which idle processes are watched."""
LONGEST = 60.0
"""Seconds that anything may take."""
_ROOT = Path(__file__).resolve().parent.parent
_JOBS = _ROOT / "bench" / "programs" / "peers"

_CIRCUS = """\
[circus]
endpoint = ipc://{folder}/endpoint
pubsub_endpoint = ipc://{folder}/pubsub
[watcher:job]
cmd = {python} {jobs}/job.py
numprocesses = {workers}
copy_env = True
"""
_SUPERVISOR = """\
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {folder}/pid
childlogdir = {folder}
[program:job]
command = {python} {jobs}/job.py
process_name = job-%(process_num)s
numprocs = {workers}
"""


def _cotyledon(python: str, folder: Path) -> list[str]:
    return [sys.executable, str(_JOBS / "service.py"), str(WORKERS)]


def _gunicorn(python: str, folder: Path) -> list[str]:
    settings = "bench.programs.peers.gunicorn_settings"
    command = [python, "-m", "gunicorn", "--config", f"python:{settings}"]
    command += ["--workers", str(WORKERS), "--bind", f"unix:{folder}/socket"]
    return [*command, f"{settings}:application"]


def _circus(python: str, folder: Path) -> list[str]:
    return [python, "-m", "circus.circusd", _written(_CIRCUS, python, folder)]


def _supervisor(python: str, folder: Path) -> list[str]:
    return [python, "-m", "supervisor.supervisord", "-c", _written(_SUPERVISOR, python, folder)]


def _written(template: str, python: str, folder: Path) -> str:
    path = folder / "settings.ini"
    path.write_text(template.format(folder=folder, python=python, jobs=_JOBS, workers=WORKERS))
    return str(path)


SUBJECTS: dict[str, Callable[[str, Path], list[str]]] = {
    "cotyledon": _cotyledon,
    "gunicorn": _gunicorn,
    "circus": _circus,
    "supervisor": _supervisor,
}


class Trial:
    """One run of one supervisor."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        os.mkfifo(folder / "reports")
        # Also for writing: there is no end of file between two reports.
        self._reports = os.open(folder / "reports", os.O_RDWR | os.O_NONBLOCK)
        plain = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
        self._popen = subprocess.Popen(
            SUBJECTS[name](python, folder),
            env={**plain, "REPORTS": str(folder / "reports"), "PYTHONPATH": _path(name)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._popen.pid

    def close(self) -> None:
        """Leave nothing behind."""
        self._popen.returncode = 0  # it is reaped here, not there
        clear_away()
        os.close(self._reports)

    def workers(self, count: int) -> list[int]:
        """Wait for so many reports; return who has reported."""
        found: list[int] = []
        end = time.monotonic() + LONGEST
        while len(found) < count:
            if not select.select([self._reports], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"{len(found)} of {count} workers have reported")
            found += map(int, os.read(self._reports, 1 << 16).split())
        return found

    def gone(self) -> None:
        """Wait until no process is left."""
        end = time.monotonic() + LONGEST
        while not reap():
            if time.monotonic() > end:
                raise TimeoutError("some processes do not end")
            time.sleep(0.0005)


def _path(name: str) -> str:
    ours = [str(Path(cotyledon.__file__).resolve().parent.parent)] if name == "cotyledon" else []
    return os.pathsep.join([str(_ROOT), *ours])


def measure(name: str, python: str, note: Callable[[str, float], None]) -> None:
    """Take one supervisor through its life, and note what was seen."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        began = time.monotonic()
        trial = Trial(name, python, Path(folder))
        try:
            workers = trial.workers(WORKERS)
            note("start until all run", time.monotonic() - began)
            time.sleep(REST)
            family = proc.family(trial.pid)
            note("memory of all", sum(map(proc.proportional_memory, family)))
            before = sum(map(proc.cpu, family))
            time.sleep(IDLE)
            note("CPU, idle", (sum(map(proc.cpu, family)) - before) / 1e9 / IDLE)

            began = time.monotonic()
            os.kill(workers.pop(), signal.SIGKILL)
            workers += trial.workers(1)
            note("KILL of one worker until its replacement runs", time.monotonic() - began)
            time.sleep(REST)

            began = time.monotonic()
            for pid in workers[:-1]:  # not its replacement: who dies again may have to wait
                os.kill(pid, signal.SIGKILL)
            trial.workers(WORKERS - 1)
            note("KILL of the nine others at once, the same", time.monotonic() - began)
            time.sleep(REST)

            began = time.monotonic()
            os.kill(trial.pid, signal.SIGTERM)
            trial.gone()
            note("TERM until nothing is left", time.monotonic() - began)
        finally:
            trial.close()


def orphans(name: str, python: str) -> int:
    """Kill a supervisor, and return how many of its processes are there after a while."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        trial = Trial(name, python, Path(folder))
        try:
            trial.workers(WORKERS)
            time.sleep(REST)
            os.kill(trial.pid, signal.SIGKILL)
            time.sleep(REST)
            reap()
            return len(proc.children(os.getpid()))
        finally:
            trial.close()


def _shown(what: str, value: float) -> str:
    if what == "memory of all":
        return f"{value / 1e6:.1f} MB"
    if what == "CPU, idle":
        return f"{value * 100:.2f} %"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def main() -> None:
    """Measure in turns, and print a table of medians."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--peers", metavar="PYTHON", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    python = os.path.abspath(options.peers)
    prepare()
    seen: dict[str, dict[str, list[float]]] = {}
    for _ in range(options.rounds):
        for name in SUBJECTS:

            def note(what: str, value: float, name: str = name) -> None:
                seen.setdefault(what, {}).setdefault(name, []).append(value)

            measure(name, python, note)
    print(f"| {WORKERS} workers | {' | '.join(SUBJECTS)} |\n|---|{'---|' * len(SUBJECTS)}")
    for what, samples in seen.items():
        cells = (_shown(what, median(samples[name])) for name in SUBJECTS)
        print(f"| {what} | {' | '.join(cells)} |")
    left = (str(orphans(name, python)) for name in SUBJECTS)
    print(f"| processes left 2 s after a KILL of the master | {' | '.join(left)} |")


if __name__ == "__main__":
    main()
