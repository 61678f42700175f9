"""What the tests of the HTTP endpoint share: a client, and a manager that is made up."""

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from cotyledon import control
from cotyledon.control import ControlError
from tests.harness import TIMEOUT, Program, TookTooLong, until

HOSTILE = '<script>alert(1)</script> "q\\uote"\n& more'
"""What a service can be called."""


def address_of(program: Program) -> tuple[str, int]:
    """Return where the endpoint of a program listens, when it does."""
    path = str(program.directory / "control.sock")

    def look() -> str | None:
        try:
            with control.Client(path) as client:
                for service in client.status()["services"]:
                    if service["name"] == "HttpService":
                        return service["workers"][0]["status"]
        except ControlError:
            pass
        return None

    url = until(look, "the endpoint listens")
    host, _, port = url.removeprefix("http://").strip("/").rpartition(":")
    return host, int(port)


class Answer(NamedTuple):
    """What was answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The text, as JSON."""
        return json.loads(self.text)


class Browser:
    """Asks one server.

    Args:
        host: its address.
        port: its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask once, over a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            text = answer.read().decode()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, text)
        finally:
            connection.close()

    def pid(self, service: str, worker: int = 0) -> int:
        """Return the pid of a worker, when it is ready."""

        def look() -> Any:
            answer = self.ask("/api/status")
            for one in answer.json["services"] if answer.status == 200 else ():
                for found in one["workers"] if one["name"] == service else ():
                    if found["id"] == worker and found["state"] == "ready":
                        return found["pid"]
            return None

        return int(until(look, f"{service} {worker} is ready"))


class Sent(NamedTuple):
    """One server-sent event."""

    event: str
    number: str | None
    data: str


class Stream:
    """Follows the events of a server; a context manager."""

    def __init__(self, browser: Browser, path: str = "/api/events", **headers: str) -> None:
        self._connection = http.client.HTTPConnection(browser.host, browser.port, timeout=TIMEOUT)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=named)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()

    def __iter__(self) -> Iterator[Sent]:
        event, number, data = "message", None, []
        while line := self._answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            match name:
                case "event":
                    event = value
                case "id":
                    number = value
                case "data":
                    data.append(value)
                case "" if data:
                    yield Sent(event, number, "\n".join(data))
                    event, number, data = "message", None, []

    def wait_for(self, kind: str) -> tuple[int, dict[str, Any]]:
        """Return the next event of a kind, and its number."""
        for sent in self:
            if sent.event == "message":
                found = json.loads(sent.data)
                if found["kind"] == kind:
                    return int(sent.number or 0), found
        raise TookTooLong(f"the stream has ended without {kind}")


# --- a manager that is made up ------------------------------------------------------------


def made_up_status(name: str = "Web", **more: Any) -> dict[str, Any]:
    """Return the status of a manager with one worker that is not there."""
    worker = {
        "id": 0, "state": "ready", "pid": None, "generation": 0, "since": 1.0, "uptime": 1.0,
        "next_start_in": None, "failures": 0, "starts": 1, "heartbeat_age": None, "status": "",
        "second_pid": None, "second_state": None, "deaths": [],
    }  # fmt: skip
    service = {
        "id": "1", "name": name, "wanted": 1, "ready": 1, "generation": 0, "reloading": False,
        "rollout_failed": False, "gave_up": False, "after": [], "workers": [worker], **more,
    }  # fmt: skip
    manager = {"pid": os.getpid(), "name": "fake", "version": "0", "state": "running",
               "uptime": 1.0, "at": time.time(), "grace": 60.0}  # fmt: skip
    return {"manager": manager, "services": [service]}


class FakeManager:
    """Speaks the protocol, counts what it is asked, and goes away when it is told to.

    Args:
        path: of its socket.
        pid: that it says it has.
    """

    def __init__(self, path: str, pid: int = 1) -> None:
        self.path, self.pid = path, pid
        self.answer = made_up_status()
        self.asked: list[float] = []
        self.connections = 0
        self.silent = False
        self._seq = 0
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._followers: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._ends.append(end)
                thread = threading.Thread(target=self._serve, args=(end,))
                self._threads.append(thread)
            thread.start()

    def _serve(self, end: socket.socket) -> None:
        try:
            self._say(end, cotyledon=1, version="0", name="fake", pid=self.pid)
            with end.makefile("rb") as lines:
                for line in lines:
                    if self.silent:
                        continue
                    request = json.loads(line)
                    if request["do"] == "status":
                        self.asked.append(time.monotonic())
                        self._say(end, id=request["id"], ok=self.answer)
                    else:
                        with self._lock:
                            self._say(end, id=request["id"], ok={"next": self._seq + 1})
                            self._followers.append(end)
        except OSError:
            pass

    def _say(self, end: socket.socket, **fields: Any) -> None:
        end.sendall(json.dumps(fields).encode() + b"\n")

    def tell(self, **event: Any) -> None:
        """Tell all followers of an event."""
        with self._lock:
            self._seq += 1
            for end in self._followers:
                self._say(end, id=1, event={"seq": self._seq, "at": time.time(), **event})

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def close(self) -> None:
        """Go away, as a manager that was killed does, but for the socket's name."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads[1:]:
            thread.join()
        for end in self._ends:
            end.close()
        os.unlink(self.path)
