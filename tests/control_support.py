"""What the tests of the control socket share: a manager that has one, and bytes for it."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cotyledon.control import Client
from tests.harness import TIMEOUT, Program, alive, until

PATH = "control"


class Managed:
    """A running program of ``tests/programs/policies.py`` whose manager has a control socket.

    Args:
        start: starts programs.
        services: as that program takes them.
        settings: of the manager.
        env: more environment variables.
    """

    def __init__(
        self,
        start: Callable[..., Program],
        *services: Mapping[str, Any],
        env: Mapping[str, str] | None = None,
        ready: bool = True,
        **settings: Any,
    ) -> None:
        settings.setdefault("control", PATH)
        given = services or ({"name": "web", "workers": 2},)
        self.program = start("policies.py", json.dumps([given, settings]), env=env)
        self.wait_for = self.program.wait_for
        self.path = str(self.program.directory / PATH)
        if ready:
            self.wait_for("notice", kind="AllReady")

    def client(self, **more: Any) -> Client:
        return Client(self.path, **more)

    def raw(self) -> "Raw":
        return Raw(self.path)

    def master_command(self, text: str) -> Any:
        """Have the master evaluate something."""
        (self.program.directory / "command").write_text(text)
        self.program.signal(10)
        return self.wait_for("obeyed")["result"]

    def supervises(self) -> None:
        """See that a worker that is killed is followed by another one."""
        with self.client() as client:
            killed: list[int] = []

            def kill() -> bool:
                # It may die of what the test has asked for, just as it is looked at.
                worker = client.status()["services"][0]["workers"][0]
                if worker["state"] == "ready":
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker["pid"], 9)
                        killed.append(worker["pid"])
                return bool(killed)

            until(kill, "a worker is killed")
            (before,) = killed

            def back() -> bool:
                worker = client.status()["services"][0]["workers"][0]
                return worker["state"] == "ready" and worker["pid"] != before

            until(back, "the worker is back")
        assert alive(self.program.pid)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))


class Raw:
    """A connection that sends and reads bytes."""

    def __init__(self, path: str | Path, *, greeted: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self._buffer = b""
        self.greeting = self.line() if greeted else None

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, **fields: Any) -> None:
        self.send(json.dumps(fields).encode() + b"\n")

    def line(self) -> Any:
        """Return the next line; ``None`` at the end of the connection."""
        while b"\n" not in self._buffer:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return None
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def error(self) -> str:
        """Return the kind of the error that comes next."""
        return str(self.line()["error"]["kind"])

    def answer(self, **fields: Any) -> Any:
        self.ask(**fields)
        return self.line()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def jiffies(pid: int) -> int:
    """Return the ticks of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def lapse(seconds: float) -> None:
    """Let time pass, to see that nothing happens in it."""
    time.sleep(seconds)
