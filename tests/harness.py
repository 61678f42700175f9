"""Real programs under test: start one, hear what it does, and see that nothing of it is left.

A program is a script in ``tests/programs``. It and every process that it starts write events,
one JSON object a line, into a FIFO; :meth:`Program.wait_for` takes them. It may wait at a gate,
another FIFO, until :meth:`Program.open_gate`. Every wait has a deadline, and none is a sleep:
events and exits are polled for by descriptor, what has no descriptor is looked at in ``/proc``.

The process of the tests is a subreaper: whatever a program leaves behind becomes its child,
so its descendants are all there is to look for.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cotyledon

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
SOURCES = Path(cotyledon.__file__).resolve().parent.parent

TIMEOUT = 20.0
"""Seconds to wait for what takes a moment on an idle machine."""

PR_SET_CHILD_SUBREAPER = 36


# --- /proc --------------------------------------------------------------------------------


class Proc(NamedTuple):
    """One line of the process table."""

    pid: int
    ppid: int
    state: str
    group: int
    session: int
    name: str


def process(pid: int) -> Proc | None:
    """Return a process as the kernel shows it now."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    state, ppid, group, session = tail.split()[:4]
    return Proc(pid, int(ppid), state, int(group), int(session), head.partition("(")[2])


def processes() -> dict[int, Proc]:
    """Return every process, the zombies included."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {proc.pid: proc for proc in found if proc is not None}


def descendants(root: int) -> dict[int, Proc]:
    """Return the processes below a process."""
    table = processes()
    children: dict[int, list[Proc]] = {}
    for proc in table.values():
        children.setdefault(proc.ppid, []).append(proc)
    found: dict[int, Proc] = {}
    todo = [root]
    while todo:
        for proc in children.get(todo.pop(), ()):
            found[proc.pid] = proc
            todo.append(proc.pid)
    return found


def alive(pid: int) -> bool:
    """Tell whether a process runs: a zombie does not."""
    proc = process(pid)
    return proc is not None and proc.state not in "ZX"


def title(pid: int) -> str:
    """Return what ``ps`` shows as the command line."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.rstrip(b"\0 ").replace(b"\0", b" ").decode(errors="replace")


def descriptors(pid: int) -> dict[int, str]:
    """Return number -> target of the open descriptors of a process."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            pass  # the directory itself, or closed meanwhile
    return found


def threads(pid: int) -> int:
    """Return the number of threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


# --- waiting ------------------------------------------------------------------------------


class TookTooLong(AssertionError):
    """What was waited for has not happened in time."""


def until(holds: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
    """Look at something that no event tells of until it holds; return what it returned."""
    end = time.monotonic() + timeout
    while True:
        result = holds()
        if result:
            return result
        if time.monotonic() >= end:
            raise TookTooLong(f"not within {timeout:g} s: {what}")
        select.select([], [], [], 0.02)


def wait_gone(pid: int, timeout: float = TIMEOUT) -> None:
    """Wait for the end of any process."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([pidfd], [], [], timeout)[0]:
            raise TookTooLong(f"process {pid} ({title(pid)}) has not ended within {timeout:g} s")
    finally:
        os.close(pidfd)


# --- programs -----------------------------------------------------------------------------


class Event(NamedTuple):
    """What a process of the program has said."""

    name: str
    pid: int
    at: float
    fields: dict[str, Any]

    def __getitem__(self, key: Any) -> Any:
        return self.fields[key]

    def matches(self, name: str, fields: Mapping[str, Any]) -> bool:
        """Tell whether the event has this name and these fields."""
        if self.name != name:
            return False
        mine = {"pid": self.pid, **self.fields}
        return all(key in mine and mine[key] == value for key, value in fields.items())


class Program:
    """One run of a script in ``tests/programs``.

    Args:
        script: the file's name.
        args: its arguments.
        env: more environment variables.
        python: options of the interpreter.
        prefix: a command that runs the command.
        stdout: a descriptor in the place of a file that :meth:`stdout` reads.
        stderr: the same for :meth:`stderr`.
        more: further arguments of :class:`subprocess.Popen`.
    """

    def __init__(
        self,
        script: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        python: Sequence[str] = (),
        prefix: Sequence[str] = (),
        stdout: int | None = None,
        stderr: int | None = None,
        **more: Any,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="program-"))
        self.directory.chmod(0o777)
        self._events = self._fifo("events")
        self._gates: dict[str, int] = {}
        self._pending = b""
        self.events: list[Event] = []
        self._taken: set[int] = set()
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
            "PYTHONPATH": os.pathsep.join((str(SOURCES), str(HERE.parent))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PROGRAM_DIR": str(self.directory),
            **(env or {}),
        }
        more.setdefault("start_new_session", "process_group" not in more)
        command = [*prefix, sys.executable, *python, str(PROGRAMS / script), *args]
        with (
            open(self.directory / "stdout", "wb") as out,
            open(self.directory / "stderr", "wb") as err,
        ):
            self.popen = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err if stderr is None else stderr,
                cwd=self.directory,
                **more,
            )
        self.pid = self.popen.pid
        """The process that was started: the master, unless there is a prefix that forks."""
        self._pidfd = os.pidfd_open(self.pid)

    def _fifo(self, name: str) -> int:
        path = self.directory / name
        try:
            os.mkfifo(path)
        except FileExistsError:
            pass
        path.chmod(0o666)
        # Also for writing: nobody gets an end of file, and nobody waits for us.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    # What it says

    def _read(self, timeout: float) -> None:
        """Take in what has been written, after waiting for something at most this long."""
        select.select([self._events], [], [], max(0.0, timeout))
        try:
            while piece := os.read(self._events, 1 << 16):
                self._pending += piece
        except BlockingIOError:
            pass
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            fields = json.loads(line)
            name, pid, at = fields.pop("event"), fields.pop("pid"), fields.pop("at")
            self.events.append(Event(name, pid, at, fields))

    def wait_for(self, name: str, timeout: float = TIMEOUT, **fields: Any) -> Event:
        """Take the first event of this name, with these fields, that was not taken before."""
        end = time.monotonic() + timeout
        self._read(0)
        looked_at = 0
        while True:
            for index in range(looked_at, len(self.events)):
                if index not in self._taken and self.events[index].matches(name, fields):
                    self._taken.add(index)
                    return self.events[index]
            looked_at = len(self.events)
            left = end - time.monotonic()
            if left <= 0:
                raise TookTooLong(
                    f"no event {name!r} with {fields} within {timeout:g} s\n{self.describe()}"
                )
            self._read(left)

    def collect(
        self, count: int, name: str, timeout: float = TIMEOUT, **fields: Any
    ) -> list[Event]:
        """Take as many events."""
        return [self.wait_for(name, timeout, **fields) for _ in range(count)]

    def all(self, name: str, **fields: Any) -> list[Event]:
        """Return every such event so far, whether taken or not."""
        self._read(0)
        return [event for event in self.events if event.matches(name, fields)]

    def open_gate(self, name: str) -> None:
        """Let through everything that waits, or will wait, at this gate."""
        if name not in self._gates:
            self._gates[name] = self._fifo(name)

    def stdout(self) -> str:
        """Return what has been written to the standard output."""
        return (self.directory / "stdout").read_text(errors="replace")

    def stderr(self) -> str:
        """Return what has been written to the standard error output."""
        return (self.directory / "stderr").read_text(errors="replace")

    def describe(self) -> str:
        """Return what is known, for a failure."""
        self._read(0)
        tree = "\n".join(
            f"  {proc.pid} <- {proc.ppid} {proc.state} {title(proc.pid) or proc.name}"
            for proc in descendants(os.getpid()).values()
        )
        events = "\n".join(f"  {e.pid} {e.name} {e.fields}" for e in self.events[-60:])
        return (
            f"status: {self.popen.poll()}\nevents:\n{events}\nprocesses:\n{tree}\n"
            f"stderr:\n{self.stderr()[-4000:]}"
        )

    # What is done to it

    def signal(self, signum: int, pid: int | None = None) -> None:
        """Signal the process that was started, or one of its workers."""
        os.kill(self.pid if pid is None else pid, signum)

    def pause(self, pid: int) -> None:
        """Stop a process, and see that it has stopped."""
        os.kill(pid, signal.SIGSTOP)

        def stopped() -> bool:
            proc = process(pid)
            return proc is not None and proc.state == "T"

        until(stopped, f"process {pid} has stopped")

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait for the end of the process that was started; return how it ended."""
        if not select.select([self._pidfd], [], [], timeout)[0]:
            raise TookTooLong(f"not ended within {timeout:g} s\n{self.describe()}")
        return self.popen.wait()

    def stop(self, timeout: float = TIMEOUT) -> int:
        """Send SIGTERM and wait for the end."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def workers(self) -> list[int]:
        """Return the pids of the live children that lead a group of their own, the guard not."""
        return sorted(
            proc.pid
            for proc in processes().values()
            if proc.ppid == self.pid
            and proc.state not in "ZX"
            and proc.group == proc.pid
            and proc.session != proc.pid
        )

    def guard(self) -> int:
        """Return the pid of the guard process."""

        def look() -> int:
            for proc in processes().values():
                if proc.ppid == self.pid and title(proc.pid).endswith(": guard"):
                    return proc.pid
            return 0

        return int(until(look, "there is a guard"))

    # The end

    def dispose(self) -> None:
        """Let go of everything that belongs to the harness."""
        for fd in (self._events, self._pidfd, *self._gates.values()):
            os.close(fd)
        shutil.rmtree(self.directory, ignore_errors=True)


SERVERS: set[int] = set()
"""Processes that outlive the test in which they are started, with all that is below them."""


class Programs:
    """The programs of one test."""

    def __init__(self) -> None:
        become_subreaper()
        self._programs: list[Program] = []
        self._before = set(descendants(os.getpid()))

    def start(self, script: str, *args: str, **more: Any) -> Program:
        """Start a program: see :class:`Program`."""
        program = Program(script, *args, **more)
        self._programs.append(program)
        return program

    def finish(self, *, failed: bool) -> str:
        """End what still runs, by SIGINT; kill and return what is left then."""
        try:
            if failed:
                self._kill()
                return ""
            for program in self._programs:
                if program.popen.poll() is None:
                    program.signal(signal.SIGINT)
            try:
                until(lambda: not self._left(), "nothing is left", 15)
            except TookTooLong:
                left = "\n".join(f"{p.pid} {p.state} {title(p.pid)}" for p in self._left())
                details = "\n".join(program.describe() for program in self._programs)
                self._kill()
                return f"{left}\n{details}"
            return ""
        finally:
            for program in self._programs:
                program.popen.wait()
                program.dispose()

    def _left(self) -> list[Proc]:
        ours = {program.pid for program in self._programs}
        for program in self._programs:
            program.popen.poll()
        left = []
        kept = self._before.union(SERVERS, *(descendants(pid) for pid in SERVERS))
        for proc in descendants(os.getpid()).values():
            if proc.pid in kept:
                continue
            if proc.state not in "ZX":
                left.append(proc)
            elif proc.ppid == os.getpid() and proc.pid not in ours:
                reap(proc.pid)
        return left

    def _kill(self) -> None:
        def dead() -> bool:
            left = self._left()
            for proc in left:
                try:
                    os.kill(proc.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not left

        until(dead, "everything that was killed is dead")


def become_subreaper() -> None:
    """Have orphans below this process become its children."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def reap(pid: int) -> None:
    """Collect an orphan that is dead."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def reap_orphans() -> None:
    """Collect what is dead of what has become a child of this process.

    Whatever reads ``/proc`` reads the zombies, too: hundreds of them take a second each time.
    """
    me = os.getpid()
    for name in Path(f"/proc/{me}/task/{me}/children").read_text().split():
        proc = process(int(name))
        if proc is not None and proc.state in "ZX" and proc.pid not in SERVERS:
            reap(proc.pid)


# --- what some tests need besides ---------------------------------------------------------


class InitSystem:
    """The end of ``NOTIFY_SOCKET`` that systemd has."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(self.address)

    def heard(self) -> list[str]:
        """Return the lines that have arrived."""
        lines: list[str] = []
        try:
            while True:
                lines += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return lines

    def wait_for(self, line: str, timeout: float = TIMEOUT) -> list[str]:
        """Wait for a line; return all that came until then."""
        end = time.monotonic() + timeout
        lines: list[str] = []
        while line not in lines:
            left = end - time.monotonic()
            if left <= 0:
                raise TookTooLong(f"the init system was not told {line!r}, but {lines}")
            select.select([self.socket], [], [], left)
            lines += self.heard()
        return lines

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def names(events: Iterable[Event]) -> list[str]:
    """Return the names of events."""
    return [event.name for event in events]
