"""One round: a subject with one job, against every server at the same time.

Responsible for every process that it starts: when a round is left, none of them is there any more.
Its files are left to the caller's temporary directory.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from bench import proc
from bench.heartbeats.figures import Cell, Rpc
from bench.heartbeats.outside import Pinger, Watcher, closed, lateness
from bench.heartbeats.plan import AMQP, BURST, PAUSE, Task
from bench.heartbeats.subjects import Subject

STARTS_IN = 30.0
"""Seconds within which a subject must be a member and answer."""


class Failed(Exception):
    """A subject has not done what it should, and says why."""


class _Running:
    """A subject's process, its folder, and those who watch it."""

    def __init__(self, subject: Subject, job: str, server: Any, broker: Any) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.broker = broker
        url = f"{broker.url}?heartbeat_timeout_threshold={AMQP}" if subject.rpc else ""
        # As nobody else's in the whole run. It names the RPC topics, too.
        group = f"{subject.name}-{job}-{self.folder.name}"
        work = job if subject.works else ""
        task = Task(server.url, group, url, work, BURST, str(self.folder))
        with open(self.folder / "said", "wb") as said:
            self.popen = subprocess.Popen(
                subject.command(task.to_json()),
                env=subject.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                start_new_session=True,
            )
        self.watcher = Watcher(task.url, group)
        self.pingers = {where: Pinger(broker.url, f"{group}-{where}") for where in subject.rpc}
        self._observers: list[Watcher | Pinger] = [self.watcher, *self.pingers.values()]

    def ready(self) -> bool:
        """Tell whether it is a member and answers."""
        return self.watcher.settled() and all(
            pinger.answered() for pinger in self.pingers.values()
        )

    def check(self) -> None:
        """Raise :class:`Failed` if it has ended."""
        if self.popen.poll() is not None:
            raise Failed(f"it has ended by itself\n{self.said()}")

    def said(self) -> str:
        """Return the end of what it has printed."""
        return (self.folder / "said").read_text(errors="replace")[-4000:]

    def pids(self, where: str) -> list[int]:
        """Return the processes in which its RPC server has been."""
        lines = (self.folder / "rpc").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.split()[0] == where]

    def beats(self) -> list[int]:
        """Return when it has beaten."""
        return [int(line) for line in (self.folder / "beats").read_text().splitlines()]

    def rpc(self, begin: int, end: int) -> dict[str, Rpc]:
        """Return what has become of its RPC servers."""
        return {
            where: Rpc(*pinger.count(begin, end), closed(self.broker.log, self.pids(where)))
            for where, pinger in self.pingers.items()
        }

    def end(self) -> None:
        """Look and ask no more; returns at once."""
        for other in self._observers:
            other.end()

    def close(self) -> None:
        """Let go of what belongs to the bench."""
        self.popen.wait()
        _at_once([other.close for other in self._observers])


class Round:
    """A subject with one job, against some servers; a context manager.

    Args:
        subject: what to run.
        floor: what to run beside it, so that one sees what the machine does to beats.
        job: what its main job does.
        servers: those of ``tests/servers.py`` by name.
        broker: RabbitMQ.
    """

    def __init__(
        self,
        subject: Subject,
        floor: Subject,
        job: str,
        servers: dict[str, Any],
        broker: Any,
    ) -> None:
        self.subjects = (subject, floor)
        self.job = job
        self._servers = servers
        self._broker = broker
        self._running: dict[tuple[Subject, str], _Running] = {}
        self._before = set(proc.children(os.getpid()))

    def __enter__(self) -> Self:
        try:
            for name, server in self._servers.items():
                for subject in self.subjects:
                    running = _Running(subject, self.job, server, self._broker)
                    self._running[subject, name] = running
        except BaseException:
            self._clear_away()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clear_away()

    def measure(self, bursts: int) -> list[Cell]:
        """Let the jobs begin when all is ready, and return what was seen during some bursts."""
        everyone = self._running.values()
        self._wait_until_ready()
        for each in everyone:
            (each.folder / "go").touch()
        begin = time.monotonic_ns()
        time.sleep(bursts * (BURST + PAUSE))
        end = time.monotonic_ns()
        for each in everyone:
            each.check()
        return [
            Cell(
                subject.name,
                self.job,
                name,
                lateness(each.beats(), begin, end),
                each.watcher.missing(begin, end),
                each.rpc(begin, end),
                "" if subject is self.subjects[0] else self.subjects[0].name,
            )
            for (subject, name), each in self._running.items()
        ]

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + STARTS_IN
        while not all(each.ready() for each in self._running.values()):
            for (subject, _), each in self._running.items():
                each.check()
                if time.monotonic() > end and not each.ready():
                    raise Failed(
                        f"{subject.name} is no member, or does not answer:\n{each.said()}"
                    )
            time.sleep(0.05)

    def _clear_away(self) -> None:
        for each in self._running.values():
            each.end()
        kill(self._before)
        _at_once([each.close for each in self._running.values()])


def _at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Make some calls, each of which may wait for an answer that does not come."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def kill(spared: Collection[int] = ()) -> None:
    """Kill the children of this process but some, and theirs, which become ours."""
    end = time.monotonic() + STARTS_IN
    while left := set(proc.children(os.getpid())) - set(spared):
        if time.monotonic() > end:
            raise Failed(f"cannot be killed: {sorted(left)}")
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):  # taken meanwhile
                pass
