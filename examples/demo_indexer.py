"""The demo's handle on the indexer, a program that it knows from the outside.

Responsible for starting and ending it, for asking for its status, and for telling whether one of
its processes is left. Never sends a signal to a process that is not the indexer's.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from examples.demo_proof import Failed

ANSWER = 10
"""Seconds that the indexer may take to answer."""
STOP = 45
"""Seconds that it may take to stop."""


class Worker(NamedTuple):
    """One line of the indexer's status."""

    service: str
    id: int
    state: str
    pid: int | None
    generation: int | None
    starts: int
    next_start_in: float | None
    last_death: str | None  # why

    @property
    def slot(self) -> tuple[str, int]:
        """Who it is, whichever process it is at the moment."""
        return self.service, self.id


class Service(NamedTuple):
    """What the indexer's status says about one of its services."""

    name: str
    wanted: int
    ready: int
    generation: int
    reloading: bool
    workers: tuple[Worker, ...]


class Indexer:
    """The indexer, running.

    Args:
        command: its command line, but for what is added here.
        log: a file for what it prints.
    """

    def __init__(self, command: Sequence[str], log: str) -> None:
        self._log = log
        self._line = b""
        self._seen: set[tuple[int, int]] = set()  # every process that it has had
        self._answers, writer = os.pipe()
        try:
            with open(log, "wb") as out:
                # A session of its own: Ctrl-C is for the demo, which then ends the indexer.
                self.process = subprocess.Popen(
                    [*command, "--status-fd", str(writer)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    pass_fds=[writer],
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._answers)
            raise
        finally:
            # From now on, only the indexer's processes hold it: see await_silence().
            os.close(writer)
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def close(self) -> None:
        """End the indexer, gracefully if it will, and let go of it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            finally:
                self.process.kill()  # what it leaves behind then ends without it
                self.process.wait()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            os.close(self._answers)
            self.pidfd = -1

    # Talking to it

    def status(self) -> list[Service]:
        """Ask the indexer how its workers are."""
        self.send(signal.SIGUSR1)
        return self.read_status()

    def read_status(self) -> list[Service]:
        """Read the next status line; the first one comes unasked."""
        deadline = time.monotonic() + ANSWER
        while b"\n" not in self._line:
            wait = max(0.0, deadline - time.monotonic())
            if not select.select([self._answers], [], [], wait)[0]:
                raise Failed(f"the indexer does not answer\n{self.last_words()}")
            data = os.read(self._answers, 1 << 16)
            if not data:
                self.fail_if_ended()
                raise Failed("the indexer has closed its status pipe")
            self._line += data
        line, _, self._line = self._line.partition(b"\n")
        self._note_processes()
        return [_service(service) for service in json.loads(line)["services"]]

    def send(self, signum: int) -> None:
        """Send a signal to the master."""
        self.fail_if_ended()
        self.process.send_signal(signum)

    def kill(self, pid: int) -> bool:
        """Kill a worker; ``False``: there is no such worker any more."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            # Asked after the descriptor was opened, so it cannot be a stranger's later.
            found = _stat(pid)
            if found is None or found.parent != self.pid or found.state == "Z":
                return False
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)

    def fail_if_ended(self) -> None:
        """Check that the indexer is running.

        Raises:
            Failed: it is not.
        """
        if self.process.poll() is not None:
            raise Failed(
                f"the indexer has ended with status {self.process.returncode}\n{self.last_words()}"
            )

    def last_words(self) -> str:
        """Return the end of what the indexer has printed."""
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return "".join(f"    {line}" for line in log.readlines()[-15:]).rstrip()

    # The end

    def stop(self) -> float:
        """Stop the indexer; return how many seconds it took.

        Raises:
            Failed: it took too long, or its exit status is not 0.
        """
        started = time.monotonic()
        self.send(signal.SIGTERM)
        try:
            status = self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise Failed(f"the indexer has not stopped within {STOP} s") from None
        if status:
            raise Failed(f"the indexer has exited with status {status}\n{self.last_words()}")
        return time.monotonic() - started

    def check_that_nothing_is_left(self) -> int:
        """Check that every process of the indexer has ended; return how many it has had.

        Raises:
            Failed: one has not.
        """
        # Whatever it has started has inherited the pipe, and the kernel tells when the last
        # process that holds it has ended. What has closed it is found among those seen.
        deadline = time.monotonic() + ANSWER
        while select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not os.read(self._answers, 1 << 16):
                break
        else:
            raise Failed("a process that the indexer has started is still there")
        left = [pid for pid, born in self._seen if (now := _stat(pid)) and now.born == born]
        if left:
            raise Failed(f"processes of the indexer are still there: {left}")
        return len(self._seen)

    def _note_processes(self) -> None:
        for name in os.listdir("/proc"):
            if name.isdigit():
                found = _stat(int(name))
                if found is not None and self.pid in (found.pid, found.parent):
                    self._seen.add((found.pid, found.born))


class _Stat(NamedTuple):
    pid: int
    state: str
    parent: int
    born: int  # clock ticks after boot: tells it from another process with the same pid


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:  # it has gone, or is not ours to see
        return None
    return _Stat(pid, fields[0].decode(), int(fields[1]), int(fields[19]))


def _service(found: dict[str, Any]) -> Service:
    return Service(
        found["name"],
        found["wanted"],
        found["ready"],
        found["generation"],
        found["reloading"],
        tuple(_worker(found["name"], worker) for worker in found["workers"]),
    )


def _worker(service: str, found: dict[str, Any]) -> Worker:
    death = found["deaths"][-1] if found["deaths"] else None
    return Worker(
        service,
        found["worker_id"],
        found["state"],
        found["pid"],
        found["generation"],
        found["starts"],
        found["next_start_in"],
        _why(death["reason"], death["exit_code"]) if death is not None else None,
    )


def _why(reason: str, code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}" if reason == "exit" else reason


def indexer_command(*arguments: str) -> list[str]:
    """Return the command line of the indexer."""
    return [sys.executable, os.path.join(os.path.dirname(__file__), "indexer.py"), *arguments]
