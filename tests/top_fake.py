"""A manager that is none: it speaks the control protocol, and says odd things."""

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any


class Fake:
    """Listens on a path.

    Args:
        path: of the socket.
        status: what it answers, or the bytes of its answer.
        events: told to everybody who asks for them.
    """

    def __init__(self, path: Path, status: Any, events: list[dict[str, Any]]) -> None:
        self._path = path
        self._status = status
        self._events = events
        self.asked: list[str] = []
        self._ends: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(os.fspath(path))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._listening.accept()
            except OSError:
                return
            self._ends.append(end)
            thread = threading.Thread(target=self._serve, args=(end,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, end: socket.socket) -> None:
        try:
            self._say(end, {"cotyledon": 1, "version": "3.1", "name": "odd", "pid": os.getpid()})
            with end.makefile("rb") as lines:
                for line in lines:
                    self._answer(end, json.loads(line))
        except OSError:
            pass  # it has gone

    def _answer(self, end: socket.socket, said: dict[str, Any]) -> None:
        self.asked.append(said["do"])
        match said["do"]:
            case "status" if isinstance(self._status, bytes):
                end.sendall(self._status)
                end.shutdown(socket.SHUT_RDWR)
            case "status":
                self._say(end, {"id": said["id"], "ok": self._status})
            case "events":
                self._say(end, {"id": said["id"], "ok": {"next": 1}})
                for event in self._events:
                    self._say(end, {"id": said["id"], "event": event})
            case "reload":
                pass  # it takes its time
            case _:
                error = {"kind": "no-answer", "text": "[red]no[/red] \x1b[2J"}
                self._say(end, {"id": said["id"], "error": error})

    def _say(self, end: socket.socket, what: Any) -> None:
        end.sendall(json.dumps(what).encode() + b"\n")

    def close(self) -> None:
        """Be gone."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._path.unlink()
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()
